"""The base of the errors that the libraries of this package raise; each library has its own subclass."""

from __future__ import annotations


class ToolError(Exception):
    """A request cannot be carried out. The message says what is wrong, with which value, and what to do."""
