"""The Pool Manager: a web application on the TD's own machine, in front of the broker. `afpools manager` runs it.

serving.py     the port, the server, the browser
session.py     who may use it: token, secret, Host and Origin checks, response headers
app.py         routes
params.py      the parameters that pages send
api.py         one function for each question and change of the pages
jobs.py        jobs on the farm, and what a change would do to them
membership.py  puts hosts into pools and takes them out: one request here, several changes at the broker
brokers.py     the state of every broker in the profile
live.py        asks the broker every second, and tells pages what changed
usage.py       how busy each pool was, for as long as the Pool Manager runs
scan_job.py    runs network scans, one at a time
workers.py     threads for blocking calls
static/        the pages: ES modules without a build step; nothing is loaded from elsewhere
"""
