"""The commands, one module for each. They and cli.py know typer and rich; what they do is in the rooms beside this."""
