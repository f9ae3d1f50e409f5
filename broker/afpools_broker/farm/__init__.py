"""The farm: its renders and users as afserver tells of them, what they can read, and its system job.

farm.py           asks afserver for renders and users
monitor.py        which renders or jobs changed: afserver's events
engines.py        how the farm reads masks
native_mirror.py  keeps pools that follow Afanasy's own on what those have in them
system_job.py     where post commands run
"""
