"""What a working afserver knows of jobs, blocks, tasks and masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SEPARATORS = re.compile(r"[|;,: ]")


def excludes(mask: str, mask_type: str, host: str) -> bool:
    """Whether a mask that could be compiled keeps a job off a host."""
    parts = [part for part in SEPARATORS.split(mask) if part]
    if not parts:
        return False
    return bool(re.fullmatch(mask, host)) if mask_type == "regex" else any(map(host.startswith, parts))


@dataclass
class FarmTask:
    state: str = "RDY"
    host: str = ""
    ends: int = 0


@dataclass
class FarmJob:
    shown: Json  # as in the answer to `get jobs`, except for the counts
    compiled: tuple[str, str]  # the exclude mask in effect, and its type
    tasks: list[list[FarmTask]]
    rounds: int  # how long a task takes
    log: list[str] = field(default_factory=list)
    offline: bool = False

    def running(self) -> Iterator[tuple[int, int, FarmTask]]:
        for block, tasks in enumerate(self.tasks):
            for number, task in enumerate(tasks):
                if task.state == "RUN":
                    yield block, number, task

    def lets(self, host: str, block: int) -> bool:
        about = self.shown["blocks"][block]
        mask_type = self.compiled[1]
        if excludes(*self.compiled, host) or excludes(about.get("hosts_mask_exclude", ""), mask_type, host):
            return False
        needed = [each for each in (self.shown.get("hosts_mask"), about.get("hosts_mask")) if each]
        return all(excludes(each, mask_type, host) for each in needed)


def tasks_in(block: Json) -> int:
    if "tasks_num" in block:
        return int(block["tasks_num"])
    return (int(block["frame_last"]) - int(block["frame_first"])) // int(block.get("frames_per_task", 1)) + 1


def compiles(mask: str, mask_type: str) -> bool:
    if mask_type == "find":
        return True
    try:
        re.compile(mask)
    except re.error:
        return False
    return True
