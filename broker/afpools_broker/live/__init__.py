"""Keeps the fences of jobs that are on the farm on what their pools mean now.

A request flows one way, and so does a fence: `jobs` reads the jobs, `intent` what each wants, `plan` says which mask it
should have, `apply` sets it, and `keeper` does all of it again and again, on the one broker that holds the lease.
Nothing about running jobs is stored but what stands on the jobs themselves, so any broker can continue where another
stopped.

keeper.py    the loop: every job's fence, again and again
lease.py     which of several brokers runs it
jobs.py      the jobs on the farm
intent.py    what a job wants
names.py     what a pool is called now
plan.py      which mask a job should have
apply.py     sets masks at afserver, and reads them back
refusals.py  changes that afserver did not make, and when to try again
tasks.py     where tasks run, and which run outside their fence
orders.py    what a manager orders for single jobs
listing.py   what people see of jobs
preview.py   what a change would do to jobs
"""
