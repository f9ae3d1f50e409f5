"""Pools, their hosts, and changes to them: plain values and pure functions. Knows neither the store nor sockets.

pool.py        a pool, all pools, and their revisions
hosts.py       host names: ranges, and the farm's spelling
folding.py     host names as people read them
changes.py     a change, and what it makes of a pool
vetting.py     may these hosts join?
history.py     what is remembered of a change
undo.py        what undoing a change would do
native.py      Afanasy's own pools
mirror.py      what becomes of a pool that follows one of Afanasy's own
lookalikes.py  names that people take for one another
nearest.py     what was meant by a name that does not exist
persistent.py  a mapping that never changes, with cheap successors
"""
