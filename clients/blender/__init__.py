"""The Blender add-on: a scene has a render pool, which applies to every job that this Blender sends to Afanasy."""

from __future__ import annotations

# Blender before 4.2 reads this from the source, without running it; later ones read blender_manifest.toml.
bl_info = {
    "name": "Afanasy Pools",
    "author": "The Afanasy Pools authors",
    "version": (0, 1, 0),
    "blender": (2, 83, 0),
    "location": "Properties > Render > Afanasy",
    "description": "Keep a render job on one pool of the farm's machines",
    "category": "Render",
}

if "ui" in locals():
    # "Reload Scripts" runs this file again, and so does Blender before 4.2 when a newer version is installed over this
    # one: every module below it must be loaded again, including the library.
    import sys

    for _module in [name for name in sys.modules if name.startswith(__name__ + ".")]:
        del sys.modules[_module]
        # As an attribute of this package, it would be found without being imported.
        globals().pop(_module[len(__name__) + 1 :], None)

from . import cgru, copies, operators, session, ui  # noqa: E402 - reloading comes first


def register() -> None:
    ui.register_preferences()
    copies.enter(__package__, _start)


def unregister() -> None:
    copies.leave(__package__, _stop)
    ui.unregister_preferences()


def _start() -> None:
    session.register(cgru.attach)
    operators.register()
    ui.register()
    cgru.register(ui.draw_in_cgru)


def _stop() -> None:
    cgru.unregister()
    ui.unregister()
    operators.unregister()
    session.unregister()
