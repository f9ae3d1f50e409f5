"""Runs inside Blender: does what the test asks for, one line of JSON each way."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace

import bpy  # isort: split

# Blender puts it on the path.
import addon_utils

EXTENSION = "bl_ext.user_default.afanasy_pools"
SUBMODULES = ("session", "cgru", "ui", "submission", "operators")


def part(name, of=EXTENSION):
    """A module of the add-on's."""
    return sys.modules[f"{of}.{name}"]


def install(file):
    addon_utils.enable("bl_pkg")
    bpy.ops.extensions.package_install_files(filepath=file, repo="user_default", enable_on_install=True)
    return EXTENSION in bpy.context.preferences.addons


def allow_online(allowed):
    bpy.context.preferences.system.use_online_access = allowed


def use_profile(folder, of=EXTENSION):
    bpy.context.preferences.addons[of].preferences.profile_folder = folder


def enable(name):
    errors = []
    # With the default set, as Blender's preferences do it: it is listed among the enabled ones.
    return addon_utils.enable(name, default_set=True, handle_error=lambda error: errors.append(str(error))) is not None


def enable_from_the_command_line(name):
    """As `blender --addons NAME` does it."""
    return addon_utils.enable(name, persistent=True) is not None


def install_newer(file, text):
    """A newer version of one of our files, and what Blender before 4.2 does with it."""
    addon_utils.disable(EXTENSION, default_set=True)
    own = sys.modules[EXTENSION]
    with (Path(own.__file__).parent / file).open("a") as source:
        source.write(text)
    importlib.reload(own)
    return enable(EXTENSION)


def has(module, name):
    return hasattr(part(module), name)


def disable(name):
    addon_utils.disable(name, default_set=True)


def set_scene(**settings):
    for name, value in settings.items():
        setattr(bpy.context.scene.cgru, name, value)


def choose(pool):
    return list(bpy.ops.afpools.choose(pool=pool))


def chosen():
    return bpy.context.scene.afpools_pool


def search(text):
    """What the search offers for a text: Blender's popup looks for it anywhere in the labels. Chooses the only hit."""
    offered = part("operators")._search_items(None, bpy.context)
    hits = [entry[:3] for entry in offered if text in entry[1]]
    if len(hits) == 1:
        bpy.ops.afpools.search("EXEC_DEFAULT", pool=hits[0][0])
    return hits


class ChangingMenu:
    """A list that has one more pool, at its beginning, whenever it is asked for after the first time."""

    def __init__(self, menu):
        self._menu = menu
        self._asked = 0

    def choices(self, chosen):
        self._asked += 1
        new = [("aaa", "aaa, 1 host")] if self._asked > 1 else []
        return [*self._menu.choices(chosen)[:1], *new, *self._menu.choices(chosen)[1:]]

    def __getattr__(self, name):
        return getattr(self._menu, name)


def search_while_the_list_changes(pool):
    """What is chosen if a newer list comes between the click and what follows from it."""
    changing = ChangingMenu(part("session").now.menu())
    part("session").now.menu = lambda: changing
    try:
        bpy.ops.afpools.search("EXEC_DEFAULT", pool=f":{pool}")
    finally:
        del part("session").now.menu
    return chosen()


def set_pool(pool):
    bpy.context.scene.afpools_pool = pool


def save(file):
    bpy.ops.wm.save_as_mainfile(filepath=file)


def open_file(file):
    bpy.ops.wm.open_mainfile(filepath=file)


def new_scene():
    """Scene > New."""
    bpy.ops.scene.new(type="NEW")


def factory_startup():
    """As `blender --factory-startup FILE`: no add-on is enabled, and the scene is as it was saved."""
    file = bpy.data.filepath
    bpy.ops.wm.read_factory_settings()
    bpy.ops.wm.open_mainfile(filepath=file)
    return hasattr(bpy.types.Scene, "afpools_pool")


def new_file():
    bpy.ops.wm.read_homefile(use_empty=True)


def submit():
    """The outcome, and the reported error, which Blender raises in Python."""
    try:
        return {"outcome": list(bpy.ops.cgru.submit()), "error": ""}
    except RuntimeError as error:
        return {"outcome": ["CANCELLED"], "error": str(error)}


def send_by_hand():
    """A job as another add-on would send it, without CGRU's operator."""
    import af

    job = af.Job("by hand")
    block = af.Block("render", "generic")
    block.setNumeric(1, 3)
    block.setCommand("true")
    job.blocks.append(block)
    try:
        return {"sent": job.send()[0], "error": ""}
    except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
        return {"sent": False, "error": f"{type(error).__name__}: {error}"}


def break_af():
    """Another `af`, which is not CGRU's."""
    sys.modules["af"] = SimpleNamespace(Job=None)


def replace_send():
    """Somebody who replaces `send` with their own."""
    import af

    original = getattr(af.Job.send, "__wrapped__", af.Job.send)
    af.Job.send = lambda job, *args, **kwargs: original(job, *args, **kwargs)


def break_operator():
    """A newer submitter, whose operator has nothing to wrap."""
    operator = bpy.types.CGRU_OT_submit
    part("cgru").attach()
    part("cgru")._operator.let_go()
    base = type("Newer", (), {"execute": operator.execute})
    del operator.execute
    operator.__bases__ = (base, *operator.__bases__)
    part("cgru").attach()


def wait_for_pools():
    part("session").now.menu()
    return [pool.name for pool in part("session").now._pool_menu().wait(30).pools]


def refresh():
    bpy.ops.afpools.refresh()
    part("session").now._pool_menu().wait(30)


def test_connection():
    bpy.ops.afpools.test_connection()
    test = part("session").now.test
    for thread in threading.enumerate():
        if thread.name == "afpools connection test":
            thread.join(30)
    return {"running": test.running, "succeeded": test.succeeded, "text": test.text}


class Layout:
    """Accepts what Blender's layouts accept, and refuses the rest, according to Blender's own description."""

    _functions = bpy.types.UILayout.bl_rna.functions

    def __init__(self, shown):
        self._shown = shown
        self.alert = False
        self.enabled = True
        self.operator_context = "INVOKE_DEFAULT"

    def _check(self, function, kwargs):
        parameters = self._functions[function].parameters
        # `text_ctxt` and the like are all listed; anything else is a TypeError in Blender.
        for name, value in kwargs.items():
            assert name in parameters, f"{function}() has no {name}"
            if parameters[name].type == "ENUM":
                assert value in parameters[name].enum_items, f"{function}({name}={value!r})"
            if parameters[name].type == "STRING":
                assert isinstance(value, str), f"{function}({name}={value!r})"

    def _child(self, function, kwargs):
        self._check(function, kwargs)
        return Layout(self._shown)

    def row(self, **kwargs):
        return self._child("row", kwargs)

    def column(self, **kwargs):
        return self._child("column", kwargs)

    def split(self, **kwargs):
        return self._child("split", kwargs)

    def separator(self, **kwargs):
        self._check("separator", kwargs)

    def _show(self, text):
        if text:
            self._shown.append(("! " if self.alert else "") + text)

    def label(self, **kwargs):
        self._check("label", kwargs)
        self._show(kwargs.get("text"))

    def menu(self, menu, **kwargs):
        self._check("menu", kwargs)
        assert hasattr(bpy.types, menu)
        self._show(f"[{kwargs['text']}]")

    def operator(self, operator, **kwargs):
        self._check("operator", kwargs)
        group, _, name = operator.partition(".")
        getattr(getattr(bpy.ops, group), name).get_rna_type()  # raises if there is none
        self._show(f"<{kwargs.get('text') or operator}>")
        return SimpleNamespace()

    def prop(self, data, name, **kwargs):
        self._check("prop", kwargs)
        assert name in data.bl_rna.properties
        self._show(f"{name}={getattr(data, name)}")


def draw(cls, of=EXTENSION):
    """What a panel, a menu or the preferences show, after Blender has drawn everything a second time."""
    own_panel_shown()
    if cls == "preferences":
        drawn, own = part("ui", of).AfpoolsPreferences, bpy.context.preferences.addons[of].preferences
    else:
        drawn, own = getattr(bpy.types, cls), None
    shown = []
    fake = SimpleNamespace(layout=Layout(shown), profile_folder=getattr(own, "profile_folder", ""), bl_rna=drawn.bl_rna)
    drawn.draw(fake, bpy.context)
    return shown


def own_panel_shown():
    return bpy.types.RENDER_PT_afpools.poll(bpy.context)


_network = []
sys.addaudithook(
    lambda event, _: (
        _network.append(event)
        if event.startswith("socket.") and threading.current_thread() is threading.main_thread()
        else None
    )
)


def draw_a_hundred_times(cls):
    """Whether a thread was waiting for the broker all the time, and how this thread used the network."""
    draw(cls)
    _network.clear()
    for _ in range(100):
        draw(cls)
    waiting = part("session").now.menu().refreshing
    return {"waiting": waiting, "network": list(_network)}


def timer():
    """Whether the timer is set, and what it does when it fires."""
    look = part("session")._look
    return {"set": bpy.app.timers.is_registered(look), "again": look()}


def leftovers():
    """What the add-on adds to Blender; empty if it is disabled."""
    found = [name for name in ("RENDER_PT_afpools", "AFPOOLS_MT_pools") if hasattr(bpy.types, name)]
    found += [name for name in ("choose", "search", "refresh", "test_connection") if name in dir(bpy.ops.afpools)]
    found += ["scene"] if hasattr(bpy.types.Scene, "afpools_pool") else []
    found += ["finder"] if any(type(finder).__name__ == "ImportHook" for finder in sys.meta_path) else []
    handlers = [handler for handler in bpy.app.handlers.load_post if EXTENSION in handler.__module__]
    found += ["handler"] if handlers else []
    panel = getattr(bpy.types, "CGRU_props", None)
    functions = getattr(getattr(panel, "draw", None), "_draw_funcs", [])
    found += ["drawing"] if any(EXTENSION in function.__module__ for function in functions) else []
    operator = getattr(bpy.types, "CGRU_OT_submit", None)
    execute = getattr(operator, "execute", None)
    found += ["operator"] if hasattr(execute, "__wrapped__") else []
    af = sys.modules.get("af")
    found += ["af"] if hasattr(getattr(getattr(af, "Job", None), "send", None), "__wrapped__") else []
    timers = [part("session")._look, part("cgru")._later]
    found += ["timer"] if any(bpy.app.timers.is_registered(timer) for timer in timers) else []
    return found


def main():
    # Blender and CGRU print anything to standard output, so the answers have a separate pipe.
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"result": globals()[name](**arguments)}
        except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
            answer = {"raised": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")


main()
