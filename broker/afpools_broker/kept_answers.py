"""Answers that exist already, as bytes: the same question within the same tenth of a second differs in its id alone.

Strategy: what stands around the id is the key, byte for byte, and nothing of it is read again. So this knows two places
where an id can be told without reading JSON: behind the version, at the very beginning, and as the last thing in the
object. An id of letters and digits is the same in JSON as it is by itself. Everything else is answered as if nothing
had been kept.

What is kept belongs to one moment, and is dropped with it: nobody is told an age that is not true any more.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

Moment = TypeVar("Moment")

# As msgspec writes them (and most others), and as Python's json does, which puts it last where it is added last.
_BEGINNINGS = b'{"v":1,"id":"', b'{"v": 1, "id": "'
_ENDINGS = b',"id":"', b', "id": "'

# Requests that are kept, and bytes of their answers; ours are 300 bytes, and a long mask has 24 KiB. Of a larger answer
# most of the work is copying, whether or not it is kept.
_MOST, _MOST_BYTES, _LARGEST, _LONGEST_REQUEST = 1000, 4 * 1024 * 1024, 64 * 1024, 1024

# What `encode_answer` writes before the id, and what behind it.
_HEAD, _OK = b'{"v":1,"id":"', b'","ok":true,'

_LONGEST_ID = 64


class Kept(NamedTuple):
    """An answer.

    Args:
        operation: that it answers, for the statistics.
        rest: of the answer, from behind the id.
    """

    operation: str
    rest: bytes


def part(data: bytes) -> tuple[bytes, bytes] | None:
    """Takes a request apart.

    Returns:
        Its id and what stands around that; None where it is not as simple.
    """
    if len(data) > _LONGEST_REQUEST:
        return None
    for beginning in _BEGINNINGS:
        if data.startswith(beginning):
            request_id, quote, rest = data[len(beginning) :].partition(b'"')
            # Of two ids in one object the last one counts, and a backslash can hide what a key says.
            if quote and request_id.isalnum() and b'"id"' not in rest and b"\\" not in rest:
                return (request_id, rest) if len(request_id) <= _LONGEST_ID else None
            return None
    if data.endswith(b'"}'):
        # The quotation mark before it opens the text that the last one closes, since there is none in between: so this
        # is the last value of the outermost object.
        start = data.rfind(b'"', 0, -2) + 1
        request_id = data[start:-2]
        if request_id.isalnum() and len(request_id) <= _LONGEST_ID and data.endswith(_ENDINGS, 0, start):
            return request_id, data[:start]
    return None


class KeptAnswers(Generic[Moment]):
    """The answers of one moment. Safe to use from any thread: whoever sees a new moment first begins anew."""

    def __init__(self) -> None:
        self._now: tuple[Moment | None, dict[bytes, Kept], list[int]] = (None, {}, [0])

    def find(self, rest: bytes, moment: Moment) -> Kept | None:
        """The answer to a request, if it is known at this moment.

        Args:
            rest: what stands around the id.
            moment: all that an answer depends on besides the request; compared with `==`.
        """
        of, answers, _ = self._now
        return answers.get(rest) if of is moment or of == moment else None

    def keep(self, parted: tuple[bytes, bytes], moment: Moment, operation: str, answer: bytes) -> None:
        """Keeps an answer that was made at this moment, in place of all others where there are too many. A refusal is
        not kept: it is counted by its code, each time.

        Args:
            parted: the request, as `part` gave it.
            moment: as for `find`.
            operation: that was asked for.
            answer: to the whole request.
        """
        request_id, rest = parted
        if len(answer) > _LARGEST or not answer.startswith(request_id + _OK, len(_HEAD)):
            return
        of, answers, size = self._now
        added = len(rest) + len(answer)
        if of != moment or len(answers) >= _MOST or size[0] + added > _MOST_BYTES:
            self._now = _, answers, size = moment, {}, [0]
        answers[rest] = Kept(operation, answer[len(_HEAD) + len(request_id) :])
        size[0] += added


def with_id(request_id: bytes, kept: Kept) -> bytes:
    """The answer to a request with this id."""
    return _HEAD + request_id + kept.rest
