from typing import Any

# In an annotation it says how the property is made; read from an instance, it is its text.
StringProperty: Any
