"""Plug-ins: where their files are, and how they get into host applications and out of them again."""
