"""Machines in a network.

addresses.py  which addresses may be scanned, and what this machine is called
scan.py       who answers there, and what the farm makes of it
"""
