"""CGRU's "Afanasy" for Fusion, with a question for the pool.

Strategy: the stock script beside this one runs unchanged, except for its last line, which opens the dialog. This script
does that, with the stock classes, and adds the pool to the dialog and to the job. If the stock script is not a version
we know, a message says so and nothing is sent.
"""

from __future__ import annotations

import ast
import os
import sys
from typing import Any, Dict, List, Tuple

_TITLE = "Submit to Afanasy"

# How long the dialog may wait for a list newer than the remembered one, in seconds.
_PATIENCE = 0.5

_POOL, _STATUS, _MASK = "render_pool", "render_pool_status", "hosts_mask"


class Unexpected(Exception):
    """The stock script, or an answer from Fusion, is not as expected."""


def scripts_folder() -> str:
    """The folder of this script and the stock one. Not every Fusion says where the script that it runs is.

    Raises:
        Unexpected: neither Fusion nor the environment says it.
    """
    if "__file__" in globals():
        return os.path.dirname(os.path.abspath(__file__))
    if not os.environ.get("CGRU_LOCATION"):
        raise Unexpected("Fusion does not say where its scripts are, and $CGRU_LOCATION is not set")
    return os.path.join(os.environ["CGRU_LOCATION"], "plugins", "fusion", "Comp")


def add_library() -> None:
    """Makes `afpools` importable: it is one folder up, or two folders up in the sources."""
    above = os.path.dirname(scripts_folder())
    for folder in (above, os.path.dirname(above)):
        if os.path.isdir(os.path.join(folder, "afpools")) and folder not in sys.path:
            sys.path.insert(0, folder)
            return


def stock() -> Dict[str, Any]:
    """The stock script's definitions, without opening its dialog.

    Raises:
        Unexpected: the script does not exist, or is not a version we know.
    """
    path = os.path.join(scripts_folder(), "Afanasy.py")
    try:
        with open(path, encoding="utf-8") as file:
            script = ast.parse(file.read(), path)
    except (OSError, SyntaxError, ValueError) as error:
        raise Unexpected(f"{path} cannot be read: {error}") from None
    last = script.body.pop() if script.body else None
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and not last.value.args):
        raise Unexpected(f"{path} does not end by opening its dialog")
    namespace: Dict[str, Any] = {"__name__": "__main__", "__file__": path}
    exec(compile(script, path, "exec"), namespace)  # noqa: S102 - Fusion would do the same
    for name, method in (("UI", "setup_ui"), ("UI", "load_settings"), ("Dispatcher", "dispatch")):
        if not callable(getattr(namespace.get(name), method, None)):
            raise Unexpected(f"{path} has no {name}.{method}")
    return namespace


class Comp:
    """Fusion's composition, whose dialogs also ask for the pool.

    Args:
        comp: the real one.
        menu: the pools to choose from.
        last: the pool that was chosen last time.
    """

    def __init__(self, comp: Any, menu: Any, last: str) -> None:
        self._comp = comp
        self._menu = menu
        self._last = last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comp, name)

    def AskUser(self, title: str, dialog: Dict[Any, Any]) -> Any:  # noqa: N802 - Fusion's own name
        """Like Fusion's, but a dialog that asks for a hosts mask also asks for a pool."""
        if not isinstance(dialog.get(1), dict):
            # The stock message box passes one question, not a table of questions.
            return self._comp.AskUser(title, {1: dialog})
        questions = [dialog[number] for number in sorted(dialog)]
        at = next((n for n, question in enumerate(questions, 1) if question.get(1) == _MASK), None)
        if at is None:
            return self._comp.AskUser(title, dialog)
        names, question = self._question()
        extra = [question]
        if self._menu.status():
            text = {1: _STATUS, 2: "Text", "Name": "Pools", "ReadOnly": True, "Lines": 2, "Wrap": True}
            extra.append({**text, "Default": self._menu.status()})
        questions[at:at] = extra
        answer = self._comp.AskUser(title, dict(enumerate(questions, 1)))
        if not answer:
            return answer
        answer = {key: value for key, value in dict(answer).items() if key != _STATUS}
        answer[_POOL] = _chosen(names, answer.get(_POOL))
        return answer

    def _question(self) -> Tuple[List[str], Dict[Any, Any]]:
        """The names to choose from, and Fusion's drop-down for them."""
        choices = self._menu.choices(self._last)
        names, shown = [name for name, _ in choices], [label for _, label in choices]
        options = dict(enumerate(shown, 1))
        default = names.index(self._last)
        return names, {1: _POOL, 2: "Dropdown", "Name": "Render Pool", "Options": options, "Default": default}


def _chosen(names: List[str], answer: Any) -> str:
    """The pool's name for Fusion's answer, a number that counts from 0.

    Raises:
        Unexpected: it is not one of the choices. Sending the job without a pool would then be a guess.
    """
    try:
        number = int(answer)
        if 0 <= number < len(names):
            return names[number]
    except (TypeError, ValueError):
        pass
    raise Unexpected(f"Fusion's answer to the question for the pool is {answer!r}")


def main() -> None:
    """Opens the dialog, and sends the job with what was chosen."""
    import fusionscript

    comp = fusionscript.scriptapp("Fusion").GetCurrentComp()
    try:
        add_library()
        _submit(comp)
    except Unexpected as error:
        _show(comp, f"{error}. Afanasy Pools does not know this version; nothing was sent.")


def _show(comp: Any, text: str) -> bool:
    """Shows a message; returns whether it was answered with OK."""
    show = {1: "message", 2: "Text", "Name": "Message", "ReadOnly": True, "Lines": 6, "Wrap": True, "Default": text}
    # Fusion's answer may be a table without an entry.
    return comp.AskUser(_TITLE, {1: show}) is not None


def _submit(comp: Any) -> None:
    namespace = stock()
    from afpools import AfpoolsError, Client
    from afpools.cgru import set_masks
    from afpools.job import MAX_MASK_BYTES, apply_on_send
    from afpools.pool_menu import PoolMenu

    af: Any = namespace.get("af")
    if af is None or not hasattr(af, "Job"):
        raise Unexpected("The stock script does not use CGRU's module af")
    pools = PoolMenu()
    pools.refresh()

    class Dispatcher(namespace["Dispatcher"]):  # type: ignore[misc, valid-type]
        def dispatch(self, job_data: Dict[str, Any]) -> None:
            if _POOL not in job_data:
                raise Unexpected("The stock script's dialog does not ask for a hosts mask")
            chosen, mask = job_data[_POOL], job_data.get(_MASK) or ""
            pool = _decided(chosen)

            def send(job: Any, *args: Any, **kwargs: Any) -> Any:
                # The stock script asks for the mask and ignores it.
                try:
                    set_masks(job, mask)
                except AfpoolsError as error:
                    raise RuntimeError(f"Nothing was sent. {error}") from error
                return with_pool(job, *args, **kwargs)

            original = af.Job.send
            # The artist is asked below, once instead of for each saver.
            take_back = apply_on_send(af, lambda: chosen, Client, lambda _text: None)
            with_pool, af.Job.send = af.Job.send, send
            try:
                if pool:
                    # Before the composition is saved and savers are switched over, which might be for nothing.
                    with Client() as asked:
                        made = asked.exclude_mask(pool, future_hosts="required", max_bytes=MAX_MASK_BYTES)
                    warning = made.warning
                    if warning and not _show(comp, f"{warning} OK sends it anyway."):
                        raise RuntimeError("Nothing was sent.")
                super().dispatch(job_data)
            except AfpoolsError as error:
                # The only kind of exception that the stock script shows.
                raise RuntimeError(_in_words(pool, error)) from error
            finally:
                take_back()
                af.Job.send = original

    class UI(namespace["UI"]):  # type: ignore[misc, valid-type]
        comp: Any

        def setup_ui(self) -> None:
            last = self.load_settings().get(_POOL, "")
            self.comp = Comp(self.comp, pools.wait(_PATIENCE), last if isinstance(last, str) else "")
            super().setup_ui()

    namespace["Dispatcher"] = Dispatcher
    UI()


def _decided(chosen: str) -> str:
    """The pool that the job gets, empty for none."""
    from afpools import AfpoolsError
    from afpools.choice import decide

    try:
        return decide(chosen)
    except AfpoolsError as error:
        # The one kind that the stock script shows.
        raise RuntimeError(_in_words("", error)) from error


def _in_words(pool: str, error: Any) -> str:
    from afpools import PoolNotApplied

    return str(error if isinstance(error, PoolNotApplied) else PoolNotApplied(pool, error))


main()
