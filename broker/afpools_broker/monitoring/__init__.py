"""What an operator can see of a running broker.

health.py      is everything behind this broker well?
statistics.py  counts of requests and answers
metrics.py     all of it in Prometheus' terms
scrapes.py     the port that Prometheus scrapes
logs.py        the log, written by a separate thread that nobody waits for
audit.py       who did what, and who was refused
lines.py       what a line of the log looks like: text or JSON
peer_log.py    a limited number of log lines that peers can cause
"""
