"""The hook of Afanasy Pools, for a program that has started to import CGRU's module `af`.

Strategy: the client library beside this file does the work. If it cannot be used, because this Python is older than 3.7
or because the library is damaged, jobs are only sent if it is certain that they need no pool. Python 2.7 can load this
file.
"""

import errno
import functools
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Type

_LIBRARY = (3, 7)
"""The first Python that can run the client library."""


class PoolNotApplied(Exception):
    """A job was not sent, because it needs a pool, or because it is not known whether it does."""


def install():
    # type: () -> Any
    """Returns the finder that finds and changes `af` from now on; it is in `sys.meta_path`."""
    kind = PoolNotApplied  # type: Type[Exception]
    finder = None  # type: Any
    try:
        if sys.version_info < _LIBRARY:
            raise ImportError("Python {}.{} is too old for pools".format(*sys.version_info[:2]))
        from .afpools import errors, hook

        kind = errors.PoolNotApplied
        finder = hook.import_hook()
    except Exception as error:  # noqa: BLE001 - a program must start, and a job that needs a pool must not be sent
        finder = _Guard(str(error))
        sys.meta_path.insert(0, finder)
    say_in_a_sentence(kind)
    return finder


def say_in_a_sentence(kind):
    # type: (Type[Exception]) -> None
    """If a script ends because a job was not sent, it prints one sentence instead of a traceback."""
    previous = sys.excepthook

    @functools.wraps(previous)
    def excepthook(raised, value, traceback):
        # type: (Type[BaseException], BaseException, Any) -> None
        if issubclass(raised, kind) and sys.stderr is not None:
            sys.stderr.write("Afanasy Pools: {}\n".format(value))
        else:
            previous(raised, value, traceback)

    sys.excepthook = excepthook


class _Guard(object):
    """Finds `af`, and prevents jobs that need a pool from being sent.

    Args:
        why: a clause that says why a pool cannot be put on them.
    """

    def __init__(self, why):
        # type: (str) -> None
        self._why = why
        self._busy = False

    def find_spec(self, name, path=None, target=None):
        # type: (str, Any, Any) -> Any
        """Called by Python 3's import system."""
        if not self._imported(name, path):
            return None
        from importlib.util import spec_from_loader

        module = sys.modules[name]
        spec = spec_from_loader(name, _Imported(module.__spec__))
        # If the module has been imported meanwhile, importlib uses the module's own spec.
        module.__spec__ = spec
        return spec

    def find_module(self, name, path=None):
        # type: (str, Any) -> Any
        """Called by Python 2's import system."""
        return _Imported(None) if self._imported(name, path) else None

    def _imported(self, name, path):
        # type: (str, Any) -> bool
        """Whether this is `af`, and somebody else has imported it meanwhile."""
        if name != "af" or path is not None or self._busy or name in sys.modules:
            return False
        self._busy = True
        try:
            __import__(name)
        finally:
            self._busy = False
        guard(sys.modules[name], self._why)
        return True


class _Imported(object):
    """A loader for an existing module.

    Args:
        spec: how it was really found; None in Python 2.
    """

    def __init__(self, spec):
        # type: (Any) -> None
        self._spec = spec

    def create_module(self, spec):
        # type: (Any) -> Any
        """Python 3."""
        return sys.modules[spec.name]

    def exec_module(self, module):
        # type: (Any) -> None
        """Python 3: nothing to do."""
        module.__spec__, module.__loader__ = self._spec, self._spec.loader

    def load_module(self, name):
        # type: (str) -> Any
        """Python 2."""
        return sys.modules[name]


def guard(af, why):
    # type: (Any, str) -> None
    """Prevents jobs that need a pool from being sent through `af`."""
    original = getattr(getattr(af, "Job", None), "send", None)
    if original is None:
        return

    @functools.wraps(original)
    def send(job, *args, **kwargs):
        # type: (Any, *Any, **Any) -> Any
        needs = needs_pool(job.data)
        if needs:
            raise PoolNotApplied("The job was not sent: {}, and {}.".format(needs, why))
        return original(job, *args, **kwargs)

    af.Job.send = send


def needs_pool(data):
    # type: (Dict[str, Any]) -> str
    """A clause that says what asks for a pool for this job; empty if it is certain that nothing does. The same rules as
    in the library's choice.py, for a Python that cannot load it."""
    try:
        asked = json.loads(data.get("custom_data") or "{}")
        asked = asked.get("afpools") if isinstance(asked, dict) else None
        asked = asked.get("pool") if isinstance(asked, dict) else None
    except ValueError:
        asked = None  # somebody's own text
    said = asked or os.environ.get("AFPOOLS_POOL", "").strip()
    if said and said != "-":
        return "it is for the pool {!r}".format(str(said))
    path = _profile()
    if not path or (data.get("maintenance") and not said):
        return ""
    try:
        with open(path, "rb") as profile:
            described = json.loads(profile.read().decode("utf-8-sig"))
        pool, required = described.get("pool") or "", described.get("required")
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the contents are not known
        return "{} cannot be read ({})".format(path, error)
    if required:
        return "the studio requires a pool for every job"
    return "" if said or pool in ("", "-") else "the studio's default is the pool {!r}".format(str(pool))


def _profile():
    # type: () -> str
    """The profile.json that applies, empty if there is none."""
    named = os.environ.get("AFPOOLS_PROFILE")
    if named:
        return os.path.join(os.path.expanduser(named), "profile.json")
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("APPDATA") or os.path.join(home, "AppData", "Roaming")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Application Support")
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or ""
        base = base if os.path.isabs(base) else os.path.join(home, ".config")
    for folder in (base, os.environ.get("CGRU_LOCATION")):
        path = os.path.join(folder, "afpools", "profile.json") if folder else ""
        if path and not _is_missing(path):
            return path
    return ""


def _is_missing(path):
    # type: (str) -> bool
    """Whether there is certainly no such file."""
    try:
        os.stat(path)
    except (IOError, OSError) as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return False
