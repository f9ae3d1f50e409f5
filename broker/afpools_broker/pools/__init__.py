"""Pools, their hosts, and changes to them: plain values and pure functions. Knows no store and no socket."""
