# The module of Fusion that gives its scripts the application.
from typing import Any

class Fusion:
    def GetCurrentComp(self) -> Any: ...

def scriptapp(name: str) -> Fusion: ...
