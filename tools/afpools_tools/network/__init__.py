"""Machines in a network.

addresses.py  which addresses may be scanned, and what this machine is called
scan.py       which machines answer there, and which of the farm's hosts they are
"""
