"""A broker as a service of systemd.

afpools.service   the unit, which can also be copied by hand
unit.py           puts a broker's own paths into it, and installs it
supervisor.py     tells systemd how the running broker is
"""
