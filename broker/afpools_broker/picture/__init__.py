"""What the broker knows of pools and farm at one moment, and the answers made of it: reads wait for no database.

snapshot.py      the picture, and the thread that replaces it by a newer one
following.py     reads from the store what changed, for the next picture
fences.py        each pool as the farm spells it, and its masks
job_mask.py      a pool's mask, joined with the one that a job has itself
tally.py         how many hosts of each pool are renders, and online
host_list.py     the list of all known hosts
moment.py        a snapshot with its age and the farm's: what one answer depends on
kept_answers.py  answers as bytes, for the same question within one moment
"""
