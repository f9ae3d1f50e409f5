from typing import Any

class Scene:
    afpools_pool: Any

class AddonPreferences:
    layout: Any

class Menu:
    layout: Any

class Panel:
    layout: Any

class Operator:
    def report(self, type: set[str], message: str) -> None: ...
