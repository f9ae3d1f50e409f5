"""The root of the errors that the libraries of this package raise; each library has a kind of its own."""

from __future__ import annotations


class ToolError(Exception):
    """What was asked for cannot be done. The message says what is wrong, with which value, and what to do."""
