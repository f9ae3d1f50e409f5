"""What an operator sees of a running broker.

health.py      is everything behind this broker well?
statistics.py  what was asked and answered
logs.py        the log, written by a thread that nobody waits for
peer_log.py    lines that a peer can cause, so many and no more
"""
