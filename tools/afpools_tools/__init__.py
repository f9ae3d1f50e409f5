"""The `afpools` program, and the libraries it stands on.

cli.py        the console script: knows where each command is, and imports it when it is run
commands/     a module for each command, and what they share: options, output. They and cli.py know typer and rich
credentials/  keys and certificates
network/      machines in a network
plugins/      plug-ins into host applications
manager/      the Pool Manager
setup.py      what a new broker needs
systemd/      a broker as a service
exchange.py   pools in files
hosts.py      hosts by name, and others in their place
effects.py    what a mask does to a farm
health.py     how the brokers of a profile are; tools/health.py runs it without anything installed
written.py    files that are written as a whole or not at all
words.py      numbers, time spans and hosts as people read them
errors.py     the root of all errors that libraries raise

A library never imports a command; tests/test_rooms.py reads all imports.
"""
