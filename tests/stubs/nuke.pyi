from typing import Any

GUI: bool

def __getattr__(name: str) -> Any: ...
