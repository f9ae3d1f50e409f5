"""Fuzzing of everything that reads what others wrote.

Strategy: a target is a function of bytes that raises where something is wrong, with a few good inputs to start from and
a way to change them that knows what they are made of. `test_targets` gives each some hundred inputs through hypothesis;
`make fuzz` runs the same targets for as long as you like, guided by which branches an input reaches where atheris is
installed. What either finds is kept as a file in `findings/`, and tried again by every `make test`.
"""
