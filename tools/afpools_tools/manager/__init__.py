"""The Pool Manager: a web application on the TD's own machine, in front of the broker. `afpools manager` runs it.

serving.py     the port, the server, the browser
session.py     who may use it: token, secret, Host and Origin, response headers
app.py         routes
params.py      what the pages send
api.py         what the pages ask for, one function each
jobs.py        jobs on the farm, and what a change would do to them
membership.py  hosts into pools and out of them: changes that are several to the broker
brokers.py     how every broker of the profile is
live.py        asks the broker every second, and tells what changed
usage.py       how busy each pool was, kept while the Pool Manager runs
scan_job.py    the one scan at a time
workers.py     threads for what blocks
static/        the pages: ES modules, no build step, nothing loaded from elsewhere
"""
