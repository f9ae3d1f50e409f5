"""The `afpools` program, and the libraries it is built on.

cli.py         the console script: knows where each command is, and imports it when it is run
commands/      a module for each command, and what they share: options, output. Only these use typer and rich
credentials/   keys and certificates
network/       machines in a network
plugins/       plug-ins into host applications
manager/       the Pool Manager
setup.py       what a new broker needs
systemd/       a broker as a service
submission.py  sends a job as CGRU's afjob.py does, and follows it until it ends
exchange.py    pools in files
hosts.py       hosts by name, and replacing them
effects.py     what a mask does to the hosts of a farm
health.py      the health of a profile's brokers; tools/health.py runs it without anything installed
written.py     files that are written completely or not at all
words.py       numbers, time spans and hosts in words
errors.py      the base of all errors that libraries raise

A library never imports a command; tests/test_rooms.py reads all imports.
"""
