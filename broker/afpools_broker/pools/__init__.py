"""Pools, their hosts, and changes to them: plain values and pure functions. Knows neither the store nor sockets."""
