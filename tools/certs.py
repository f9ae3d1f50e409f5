#!/usr/bin/env python3
"""`afpools certs` from a checkout that is not installed: python tools/certs.py --help

Needs cryptography, msgspec, pyzmq, rich and typer.
"""

import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_CHECKOUT / folder) for folder in ("broker", "clients", "tools")]

from afpools_tools.commands.certs import main  # noqa: E402 - found through the lines above

if __name__ == "__main__":
    main()
