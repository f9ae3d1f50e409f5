"""Keeps the fences of jobs on the farm up to date with their pools.

A request flows one way, and so does a fence: `jobs` reads the jobs, `intent` says what each wants, `plan` which mask it
should have, `apply` sets it, and `keeper` repeats all of it on the one broker that holds the lease. Nothing about
running jobs is stored except on the jobs themselves, so any broker can continue where another stopped.

keeper.py       the loop that keeps every job's fence
lease.py        which of several brokers runs it
jobs.py         the jobs on the farm
intent.py       what a job wants
names.py        what a pool is called now
trail.py        the part of history that says so
spill.py        the second pool of a job that waits too long
waiting.py      how long jobs have waited
plan.py         which mask a job should have
apply.py        sets masks at afserver, and reads them back
causes.py       why fences move
refusals.py     changes that afserver did not make, and when to try them again
overwritten.py  a person's edit that our change overwrote, found and restored
struck.py       jobs that got another job's mask by mistake, and are paused
tasks.py        where tasks run, and which run outside their fence
orders.py       what a manager orders for individual jobs
view.py         how the fences stand, as of the last look
listing.py      what people see of jobs
preview.py      what a change would do to jobs
"""
