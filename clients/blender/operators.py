"""The operators behind the buttons. None of them waits for the network."""

# Without `annotations` from __future__: Blender needs a property's annotation as an object, not as a string.

from typing import Any, Dict, List, Tuple

import bpy

from . import session


class AFPOOLS_OT_choose(bpy.types.Operator):
    """Run this scene's jobs on any host"""

    bl_idname = "afpools.choose"
    bl_label = "Choose Render Pool"
    bl_options = {"INTERNAL", "UNDO"}

    pool: bpy.props.StringProperty(options={"SKIP_SAVE"})  # type: ignore[valid-type]

    @classmethod
    def description(cls, context: Any, properties: Any) -> str:
        return cls.described(properties.pool)

    @staticmethod
    def described(name: str) -> str:
        """What an entry of the chooser says of itself."""
        menu = session.now.menu()
        pool = menu.resolve(name)
        if not pool:
            return "Run this scene's jobs on any host"
        found = menu.find(pool)
        return (found.description if found else "") or f"Run this scene's jobs on the pool {pool} only"

    def execute(self, context: Any) -> Any:
        context.scene.afpools_pool = self.pool
        return {"FINISHED"}


# Blender does not keep the texts of an enumeration that a function gives it (bpy.props.EnumProperty), so we do.
_found: List[Tuple[str, str, str, str, int]] = []

# Blender stores the number of an entry, and asks for the list again when it reads which one was chosen. The list may be
# a newer one by then, so a number belongs to one pool for as long as Blender runs.
_numbers: Dict[str, int] = {}


def _search_items(operator: Any, context: Any) -> List[Tuple[str, str, str, str, int]]:
    """What the search offers, in the order of the menu. Blender takes an empty identifier for a heading."""
    menu = session.now.menu()
    _found[:] = [
        (f":{name}", label, AFPOOLS_OT_choose.described(name), "NONE", _numbers.setdefault(name, len(_numbers)))
        for name, label in menu.choices(context.scene.afpools_pool)
    ]
    return _found


class AFPOOLS_OT_search(bpy.types.Operator):
    """Choose a pool by typing a part of its name"""

    bl_idname = "afpools.search"
    bl_label = "Search Render Pools"
    bl_options = {"INTERNAL", "UNDO"}
    bl_property = "pool"

    pool: bpy.props.EnumProperty(items=_search_items, options={"SKIP_SAVE"})  # type: ignore[valid-type]

    def invoke(self, context: Any, event: Any) -> Any:
        context.window_manager.invoke_search_popup(self)
        return {"FINISHED"}

    def execute(self, context: Any) -> Any:
        if not self.pool.startswith(":"):
            self.report({"WARNING"}, "This pool is no longer in the list of pools. Choose again.")
            return {"CANCELLED"}
        context.scene.afpools_pool = self.pool[1:]
        return {"FINISHED"}


class AFPOOLS_OT_refresh(bpy.types.Operator):
    """Ask the broker for the pools again"""

    bl_idname = "afpools.refresh"
    bl_label = "Refresh Render Pools"
    bl_options = {"INTERNAL"}

    def execute(self, context: Any) -> Any:
        session.now.refresh()
        return {"FINISHED"}


class AFPOOLS_OT_test_connection(bpy.types.Operator):
    """Ask the broker who we are to it"""

    bl_idname = "afpools.test_connection"
    bl_label = "Test Connection"
    bl_options = {"INTERNAL"}

    def execute(self, context: Any) -> Any:
        session.now.start_test()
        return {"FINISHED"}


_CLASSES = (AFPOOLS_OT_choose, AFPOOLS_OT_search, AFPOOLS_OT_refresh, AFPOOLS_OT_test_connection)


def register() -> None:
    for cls in _CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
