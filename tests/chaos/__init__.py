"""Real brokers, databases and clients under faults and attacks, and a judge of what the clients were told.

docs/testing.md says how to run it and what is judged.

history.py   what is written down of each request
registers.py what a register can have held; pure
checker.py   from a history to what was false in it; pure, with conduct.py, findings.py
schedule.py  which fault when, from a seed; pure
measures.py  memory, times, log lines, and the table
proxy.py     the network between the parts
brokers.py   a broker's process
clock.py     its wall clock, with clock.cpp
stores.py    the databases, and the way past the brokers
asking.py    a client that writes down what it is told; writer.py and reader.py are its processes
peers/       processes that attack
world.py     all of it together; founding.py is how it begins
faults/      what is done to it
runner.py    a run; __main__.py is the command
sabotage.py  a broker that lies, for the tests
"""
