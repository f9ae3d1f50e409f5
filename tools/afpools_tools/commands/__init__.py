"""The commands, one module for each: all that knows typer and rich. What they do is in the rooms beside this one."""
