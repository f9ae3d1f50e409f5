"""The commands, one module for each. Only they and cli.py use typer and rich; the work is in the packages beside
this."""
