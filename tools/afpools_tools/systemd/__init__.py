"""A broker as a systemd service.

afpools.service   the unit, which can also be copied by hand
unit.py           puts a broker's own paths into the unit, and installs it
supervisor.py     tells systemd the state of the running broker
"""
