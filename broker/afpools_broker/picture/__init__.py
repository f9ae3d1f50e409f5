"""What the broker knows about pools and farm at one moment, and the answers made from it: reads never wait for a
database.

snapshot.py      the picture, and the thread that replaces it with a newer one
following.py     reads what has changed in the store, for the next picture
fences.py        each pool as the farm spells it, and its masks
members.py       the hosts of a pool, as a set in little memory
job_mask.py      a pool's mask, joined with a job's own mask
tally.py         how many hosts of each pool are renders, and online
host_list.py     the list of all known hosts
moment.py        a snapshot with its age and the farm's: what one answer depends on
kept_answers.py  answers as bytes, for equal requests within one moment
"""
