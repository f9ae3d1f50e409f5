"""Afanasy Pools: every job that CGRU's Python sends gets its pool. Python runs this file in every program that has its
folder in PYTHONPATH (docs/hook.md).

Strategy: a program that never imports CGRU's module `af` only pays for a finder and a scan of the path; everything else
is in afpools_hook beside this file, and is imported together with `af`. Another sitecustomize later in the path runs as
if this one did not exist. Python 2.7 can load this file.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class AfpoolsFinder(object):
    """Waits for `import af`, and is then replaced by the finder that changes that module."""

    def find_spec(self, name, path=None, target=None):
        # type: (str, Any, Any) -> Any
        """Called by Python 3's import system."""
        if name != "af" or path is not None:
            return None
        return self._hook().find_spec(name, path, target)

    def find_module(self, name, path=None):
        # type: (str, Any) -> Any
        """Called by Python 2's import system."""
        if name != "af" or path is not None:
            return None
        return self._hook().find_module(name, path)

    def _hook(self):
        # type: () -> Any
        sys.meta_path.remove(self)
        # The program may have changed its path by now.
        sys.path.insert(0, _HERE)
        try:
            import afpools_hook
        finally:
            sys.path.remove(_HERE)
        return afpools_hook.install()


_HERE = os.path.dirname(os.path.abspath(__file__))


def _run_next():
    # type: () -> None
    """Runs the next sitecustomize in the path, whoever owns it."""
    places = [os.path.realpath(place) for place in sys.path]
    here = os.path.realpath(_HERE)
    later = sys.path[places.index(here) + 1 :] if here in places else []
    if sys.version_info[0] == 2:
        import imp

        try:
            found = imp.find_module("sitecustomize", later)
        except ImportError:
            return
        try:
            imp.load_module("sitecustomize", *found)
        finally:
            if found[0]:
                found[0].close()
        return
    # Every Python 3 has loaded these two before it imports anything; importlib would take longer than all of this.
    import _frozen_importlib
    import _frozen_importlib_external

    spec = _frozen_importlib_external.PathFinder.find_spec("sitecustomize", later)
    if spec is not None and spec.loader is not None:
        module = _frozen_importlib.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


# Another copy of this file may have run first.
if not any(type(finder).__name__ == "AfpoolsFinder" for finder in sys.meta_path):
    sys.meta_path.insert(0, AfpoolsFinder())
_run_next()
