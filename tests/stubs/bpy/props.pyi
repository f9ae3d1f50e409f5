from typing import Any

# In an annotation it defines the property; read from an instance, it is its text.
StringProperty: Any
