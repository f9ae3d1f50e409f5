"""The farm: its renders and users as afserver reports them, what they can read, and its system job.

afserver.py       one request to afserver, and its answer
farm.py           asks it for renders and users
monitor.py        which renders or jobs have changed: afserver's events
engines.py        how the farm reads masks
native_mirror.py  gives pools that follow one of Afanasy's the hosts of that pool
system_job.py     where post commands run
"""
