from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

load_post: list[Callable[..., Any]]

def persistent(function: _F) -> _F: ...
