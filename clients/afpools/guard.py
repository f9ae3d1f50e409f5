"""Refuses to send jobs as long as a pool is chosen that cannot be obeyed: this Python is too old for the client
library, or a plug-in does not know this version of CGRU's script.

Python 2.7 can load this file by itself, so it imports nothing of the library.
"""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List

_OURS = "_afpools_guard"


def guard(why, chosen, say):
    # type: (str, Callable[[], List[str]], Callable[[str], Any]) -> None
    """From now on, jobs are sent only if no pool is chosen.

    Args:
        why: a sentence.
        chosen: called for each job; returns where a pool is chosen, such as `afanasy1 (fx)`.
        say: shows a sentence to the artist.
    """
    try:
        af = importlib.import_module("af")
    except ImportError:
        # Nothing can be sent without CGRU's modules.
        return
    original = af.Job.send
    if hasattr(original, _OURS):
        return

    def send(job, *args, **kwargs):
        # type: (Any, *Any, **Any) -> Any
        found = chosen()
        if found:
            message = "{} The job was not sent, because a pool is chosen: {}.".format(why, ", ".join(found))
            say(message)
            raise RuntimeError(message)
        return original(job, *args, **kwargs)

    setattr(send, _OURS, True)
    setattr(af.Job, "send", send)
