"""The operators behind the buttons. None of them waits for the network."""

# Without `annotations` from __future__: Blender needs a property's annotation as an object, not as a string.

from typing import Any

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
        menu = session.now.menu()
        pool = menu.resolve(properties.pool)
        if not pool:
            return "Run this scene's jobs on any host"
        found = menu.find(pool)
        return (found.description if found else "") or f"Run this scene's jobs on the pool {pool} only"

    def execute(self, context: Any) -> Any:
        context.scene.afpools_pool = self.pool
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


_CLASSES = (AFPOOLS_OT_choose, AFPOOLS_OT_refresh, AFPOOLS_OT_test_connection)


def register() -> None:
    for cls in _CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
