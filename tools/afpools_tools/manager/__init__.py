"""The Pool Manager: a web application on the TD's own machine, in front of the broker.

command.py    `afpools manager`: opens the port and the browser
session.py    who may use it: token, secret, Host and Origin, response headers
live.py       asks the broker every second, and tells what changed
usage.py      how busy each pool was, kept while the manager runs
api.py        what the pages ask for, one function each
app.py        routes
static/       the pages: ES modules, no build step, nothing loaded from elsewhere
"""
