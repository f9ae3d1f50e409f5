"""The panels and preferences. Drawing reads the state in session.py, and never waits."""

# Without `annotations` from __future__: Blender needs a property's annotation as an object, not as a string.

import textwrap
from typing import Any, List, Tuple

import bpy

from . import cgru, copies, session


def draw_chooser(layout: Any, context: Any) -> None:
    """The row with the chooser, and messages about it below."""
    menu = session.now.menu()
    pool = context.scene.afpools_pool
    warning = menu.warning(pool)
    split = layout.split(factor=0.24)
    split.label(text="Render Pool:")
    row = split.row(align=True)
    chooser = row.row(align=True)
    # Only the chooser is red.
    chooser.alert = menu.is_missing(pool)
    chooser.menu("AFPOOLS_MT_pools", text=menu.label(pool))
    refresh = row.row(align=True)
    refresh.enabled = not menu.refreshing
    refresh.operator("afpools.refresh", text="", icon="FILE_REFRESH")
    if warning:
        draw_text(layout, context, warning, "ERROR", alert=menu.is_missing(pool))
    status = menu.status()
    if status:
        draw_text(layout, context, status, "SORTTIME" if menu.refreshing else "INFO")
    if not session.online():
        layout.operator("extensions.userpref_allow_online", text="Allow Online Access")
    if menu.resolve(pool) and cgru.panel_found() and not cgru.operator_found():
        draw_text(
            layout,
            context,
            "This version of CGRU's add-on is not known. A job that cannot be kept on its "
            "pool is only stopped when it is sent.",
            "ERROR",
        )


def draw_text(layout: Any, context: Any, text: str, icon: str, alert: bool = False) -> None:
    """Wraps text to the panel's width, which Blender's labels do not do."""
    scale = context.preferences.system.ui_scale
    # 6.5 is the width of a character in the standard font, 60 are margins and the icon.
    width = max(20, int((context.region.width / scale - 60) / 6.5)) if context.region else 60
    column = layout.column(align=True)
    column.alert = alert
    for paragraph in text.splitlines():
        for line in textwrap.wrap(paragraph, width, break_on_hyphens=False) or [""]:
            column.label(text=line, icon=icon)
            icon = "BLANK1"


def draw_in_cgru(panel: Any, context: Any) -> None:
    """Goes into CGRU's panel, at its top."""
    cgru.attach()
    draw_chooser(panel.layout, context)
    panel.layout.separator()


# With more entries than this, a menu has a search. As many rows fit on a small screen.
_MANY, _ROWS = 12, 24


class AFPOOLS_MT_pools(bpy.types.Menu):
    bl_idname = "AFPOOLS_MT_pools"
    bl_label = "Render Pool"

    def draw(self, context: Any) -> None:
        layout = self.layout
        menu = session.now.menu()
        chosen = context.scene.afpools_pool
        sections = menu.sections(chosen)
        if sum(len(names) for _, names in sections) > _MANY:
            # A menu opened from a menu runs its operators at once: without this, no search would be shown.
            layout.operator_context = "INVOKE_DEFAULT"
            layout.operator("afpools.search", text="Search…", icon="VIEWZOOM")
            layout.separator()
        columns = layout.row()
        for column in _columns(sections):
            entries = columns.column()
            for heading, names in column:
                if heading:
                    entries.label(text=heading, translate=False)
                for name in names:
                    icon = "RADIOBUT_ON" if name == chosen else "RADIOBUT_OFF"
                    label = menu.label(name)
                    entries.operator("afpools.choose", text=label, icon=icon, translate=False).pool = name


def _columns(sections: List[Tuple[str, List[str]]]) -> List[List[Tuple[str, List[str]]]]:
    """Sections of a menu, side by side as far as they are too long for one screen. A section that is too long itself
    goes on in the next column."""
    columns: List[List[Tuple[str, List[str]]]] = [[]]
    room = _ROWS
    for heading, names in sections:
        while names:
            if room < 2:
                columns.append([])
                room = _ROWS
            columns[-1].append((heading, names[: room - 1]))
            taken = len(columns[-1][-1][1])
            names, room = names[taken:], room - taken - 1
    return columns


class RENDER_PT_afpools(bpy.types.Panel):
    """Our own panel, for when CGRU's add-on is not enabled."""

    bl_label = "Afanasy Pools"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        # Called whenever the render properties are drawn, so this is the place to notice that CGRU's add-on has been
        # enabled.
        if cgru.attach():
            # Its panel may already have been drawn, without the chooser.
            session.watch()
        return not cgru.panel_found()

    def draw(self, context: Any) -> None:
        draw_chooser(self.layout, context)
        draw_text(self.layout, context, "CGRU's Afanasy panel is not here; enable its add-on to submit jobs.", "INFO")


def _profile_changed(preferences: Any, context: Any) -> None:
    session.now.forget()


class AfpoolsPreferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    profile_folder: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Profile",
        description="The folder with your credentials for the broker. Empty: found through $AFPOOLS_PROFILE, "
        "your configuration folder, and $CGRU_LOCATION/afpools",
        subtype="DIR_PATH",
        update=_profile_changed,
    )

    def draw(self, context: Any) -> None:
        layout = self.layout
        if copies.working() != __package__:
            draw_text(layout, context, _SECOND_COPY.format(copies.working()), "ERROR")
            return
        layout.prop(self, "profile_folder")
        if not self.profile_folder:
            draw_text(layout, context, "Empty: found in the usual places.", "BLANK1")
        test = session.now.test
        row = layout.row()
        row.enabled = not test.running
        row.operator("afpools.test_connection", icon="URL")
        if test.text:
            failed = not test.running and not test.succeeded
            draw_text(layout, context, test.text, "ERROR" if failed else "INFO", alert=failed)
        if not session.online():
            layout.operator("extensions.userpref_allow_online", text="Allow Online Access")


_SECOND_COPY = (
    "Another copy of this add-on is enabled, {}, so this one does nothing. Disable one of them: the extension is the "
    "one to keep unless your studio has put the other into CGRU."
)
_CLASSES = (AFPOOLS_MT_pools, RENDER_PT_afpools)


def register_preferences() -> None:
    bpy.utils.register_class(AfpoolsPreferences)


def unregister_preferences() -> None:
    bpy.utils.unregister_class(AfpoolsPreferences)


def register() -> None:
    for cls in _CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
