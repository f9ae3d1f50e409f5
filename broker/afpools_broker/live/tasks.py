"""Where tasks run now, according to afserver's renders, and which of them run outside their job's fence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ..farm.afserver import Ask, FarmError
from .jobs import Job
from .plan import keeps_out


class Task(NamedTuple):
    """One task that runs now.

    Args:
        host: the host it runs on.
        job: its job's number.
        block: its block's number.
        number: its own number.
    """

    host: str
    job: int
    block: int
    number: int


class _Task(Struct, gc=False):
    job_id: int = 0
    block_num: int = 0
    task_num: int = 0


class _Render(Struct, gc=False):
    name: str = ""
    tasks: list[_Task] = []


class _Renders(Struct):
    renders: list[_Render]


_decode = msgspec.json.Decoder(_Renders, strict=False).decode


def running_tasks(ask: Ask) -> list[Task]:
    """All tasks that run now.

    Raises:
        FarmError: afserver does not answer, or not with a list.
    """
    body = ask({"get": {"type": "renders"}})
    try:
        renders = _decode(body).renders
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FarmError(f"afserver's list of renders makes no sense: {error}.") from None
    return [
        Task(render.name, task.job_id, task.block_num, task.task_num) for render in renders for task in render.tasks
    ]


def outside(tasks: Iterable[Task], jobs: Mapping[int, Job], hosts: Collection[str] | None = None) -> list[Task]:
    """The tasks on hosts where their job's exclude mask would not let them start.

    Args:
        tasks: the tasks that run.
        jobs: by number; tasks of other jobs are left out.
        hosts: only on these.
    """
    seen: dict[tuple[str, str, str], bool] = {}
    found = []
    for task in tasks:
        job = jobs.get(task.job)
        if job is None or (hosts is not None and task.host not in hosts):
            continue
        key = (job.hosts_mask_exclude, job.hosts_mask_type, task.host)
        if key not in seen:
            seen[key] = keeps_out(job, task.host)
        if seen[key]:
            found.append(task)
    return found


def restarts(tasks: Iterable[Task]) -> list[tuple[int, int, list[int]]]:
    """What to send back: job, block, and the numbers of the tasks."""
    blocks: dict[tuple[int, int], list[int]] = {}
    for task in tasks:
        blocks.setdefault((task.job, task.block), []).append(task.number)
    return [(job, block, sorted(numbers)) for (job, block), numbers in blocks.items()]
