"""Keeps the fences of jobs that are on the farm on what their pools mean now.

A request flows one way, and so does a fence: `jobs` reads the jobs, `intent` what each wants, `plan` says which mask it
should have, `apply` sets it, and `keeper` does all of it again and again, on the one broker that holds the lease.
Nothing about running jobs is stored but what stands on the jobs themselves, so any broker can continue where another
stopped.
"""
