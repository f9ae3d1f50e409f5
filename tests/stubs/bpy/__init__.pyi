# Blender's module, as far as the add-on uses it. Its own types are made while it runs.
from typing import Any

from . import app as app
from . import props as props
from . import types as types

context: Any
ops: Any
path: Any
utils: Any
