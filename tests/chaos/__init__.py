"""Real brokers, databases and clients under faults and attacks, and a judge of what the clients were told.

history.py    what is written down of each request
registers.py  what a register can have held; pure
checker.py    from a history to what was false in it; pure
"""
