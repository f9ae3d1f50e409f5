"""A working stand-in for afserver: it keeps jobs, carries out actions once a round, and gives tasks to renders.

What it does was recorded from CGRU 3.4.1's own server (`data/afserver/live_*.json`, docs/afanasy.md), and
test_working_afserver.py holds it against a real one where there is one. Everything that happens in a round happens
while nobody gets an answer, as on the real server, so that long changes can be felt.
"""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any

from tests.afserver import framed, recording
from tests.afserver_jobs import SEPARATORS, FarmJob, FarmTask, Json, compiles, tasks_in

CAPACITY = 1_000_000
# In the order in which they are read; all others come last here.
_KEYS = ("annotation", "custom_data", "priority", "hidden", "hosts_mask", "hosts_mask_exclude", "hosts_mask_type")
_DONE = {"info": {"kind": "log", "text": "Action processed."}}


@dataclass(frozen=True)
class Costs:
    """How long the server works, in seconds, as measured on 3.4.1 (two cores).

    Args:
        per_id: of an action, for each job.
        per_type: as much again where the type is set, because masks are then read again.
        per_byte: of a regex, for each job.
    """

    per_id: float = 0.00016
    per_type: float = 0.00013
    per_byte: float = 0.0000012

    def of(self, ids: int, params: Json) -> float:
        """Seconds for one action."""
        mask = params.get("hosts_mask_exclude", "")
        each = self.per_id + self.per_byte * len(mask) + self.per_type * ("hosts_mask_type" in params)
        return ids * each


FREE = Costs(0, 0, 0)


def _reply(connection: socket.socket, answer: Json) -> None:
    with suppress(OSError):
        connection.sendall(framed(json.dumps(answer).encode()))


def _reply_and_close(connection: socket.socket, answer: Json) -> None:
    with connection:
        _reply(connection, answer)


def _error(text: str) -> Json:
    return {"info": {"kind": "error", "text": text}}


@dataclass
class _Monitor:
    told: Json
    heard: float
    classes: set[str] = field(default_factory=set)
    everybody: bool = False
    events: dict[str, list[int]] = field(default_factory=dict)


class WorkingAfServer:
    """An afserver on a port of 127.0.0.1.

    Args:
        renders: their names; all online.
        version: what it and its renders are: `3.4.1`, or `3.3.1`, which knows no mask type and forgets native pools.
        round_seconds: between two rounds; a second on the real one.
        costs: how long it works.
        zombie_seconds: after which a silent monitor is forgotten; 16 on the real one.
        tasks_per_render: how many run on one at once.
    """

    def __init__(
        self,
        renders: tuple[str, ...] = ("pc-01", "pc-02", "pc-03"),
        *,
        version: str = "3.4.1",
        round_seconds: float = 0.02,
        costs: Costs = FREE,
        zombie_seconds: float = 16.0,
        tasks_per_render: int = 1,
    ) -> None:
        self.version, self.round_seconds, self.costs = version, round_seconds, costs
        self.zombie_seconds, self.tasks_per_render = zombie_seconds, tasks_per_render
        self.lock = threading.RLock()
        self.jobs: dict[int, FarmJob] = {}
        # When, serial, mask, type: every mask that was ever in effect.
        self.masks: list[tuple[float, int, str, str]] = []
        self.ran: list[tuple[str, str]] = []  # name of the job and host of each task that was ever started
        self.actions: list[Json] = []
        self.requests: list[Json] = []
        self.stubborn = False  # acknowledges params, and does nothing
        self.before_actions: Any = None  # called in a round that has actions
        self.silent = False  # accepts connections, and never answers
        self._monitors: dict[int, _Monitor] = {}
        # Actions, and the callbacks that wait for an answer.
        self._queue: deque[tuple[Json, Callable[[Json], object]]] = deque()
        self._serial = self._round = 0
        self._worked_until = 0.0  # as time.monotonic counts
        self._busy: set[int] = set()  # numbers of jobs that may have running tasks
        self._renders: dict[str, Json] = {}
        self.pools = {"/"}  # the paths of its own pools
        self._stop = threading.Event()
        pattern = recording("renders_get")["answer"]["renders"][1]
        for number, name in enumerate(renders, 1):
            self._renders[name] = {**pattern, "name": name, "id": number, "engine": version, "state": " ONL"}
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer._handle(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = socket.SOMAXCONN

            def shutdown_request(self, request: Any) -> None:
                self.close_request(request)  # one that waits for its round is still answered

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address: tuple[str, int] = self._server.server_address
        system = recording("system_job_get")["answer"]["jobs"][0]
        self.jobs[1] = FarmJob(dict(system, serial=0), ("", "find"), [[] for _ in system["blocks"]], 1)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True),
            threading.Thread(target=self._rounds, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    # --- what tests do to it ---

    def send(self, name: str = "shot", *, tasks: int = 3, user: str = "anna", rounds: int = 3, **keys: Any) -> int:
        """Sends a job as a submitter would; `rounds` is how long a task takes. Returns its id."""
        block = {"name": "b", "service": "generic", "tasks_num": tasks, **keys.pop("block", {})}
        job = {"name": name, "user_name": user, "host_name": "ws", "blocks": [block], **keys}
        return int(self._add_job(job, rounds)["id"])

    def by_hand(self, number: int, user: str = "anna", **params: Any) -> Json:
        """What a person does in afwatch; returns once it is carried out."""
        return self.act(number, user=user, params=params)

    def by_hand_now(self, number: int, user: str = "bob", **params: Any) -> None:
        """The same at once, for `before_actions`: in the round that is about to begin."""
        self._act({"user_name": user, "host_name": "ws-04", "type": "jobs", "ids": [number], "params": params})

    def act(self, *ids: int, user: str = "anna", host: str = "ws-04", **what: Any) -> Json:
        action = {"user_name": user, "host_name": host, "type": "jobs", "ids": list(ids), **what}
        return self._later({"action": action})

    def job(self, number: int) -> Json:
        """A job as in the answer to `get jobs`."""
        with self.lock:
            return self._told(number)

    def fence(self, number: int) -> tuple[str, str]:
        """The mask in effect."""
        return self.jobs[number].compiled

    def hosts_of(self, name: str) -> set[str]:
        """The hosts where tasks of jobs with this name were ever started."""
        return {host for job, host in self.ran if job == name}

    def set_render(self, name: str, state: str = " ONL") -> None:
        """Adds a render, or changes its state."""
        with self.lock:
            new = name not in self._renders
            free = max((each["id"] for each in self._renders.values()), default=0) + 1
            pattern = next(iter(self._renders.values()), recording("renders_get")["answer"]["renders"][1])
            told = {**pattern, "name": name, "id": free, "engine": self.version, "pool": "/"}
            render = self._renders.setdefault(name, told)
            render["state"] = state
            self._event("renders_add" if new else "renders_change", render["id"])

    def set_pool(self, path: str, *names: str) -> None:
        """Moves renders into one of its own pools, which is made if there is none."""
        with self.lock:
            self.pools.add(path)
            for name in names:
                self._renders[name]["pool"] = path
                self._event("renders_change", self._renders[name]["id"])

    def lose_everything(self) -> None:
        """Comes back without its files: no renders, no monitors, and no pools but the root."""
        with self.lock:
            self._monitors.clear()
            self._renders.clear()
            self.pools = {"/"}

    def delete_render(self, name: str) -> None:
        with self.lock:
            self._event("renders_del", self._renders.pop(name)["id"])

    def restart(self) -> None:
        """Comes back as a real one does: jobs as they were, monitors forgotten, all renders off until they register."""
        with self.lock:
            self._monitors.clear()
            for render in self._renders.values():
                render["state"] = " OFF"

    def forget_monitors(self) -> None:
        with self.lock:
            self._monitors.clear()

    def renders_return(self) -> None:
        for name in list(self._renders):
            self.set_render(name)

    # --- the wire ---

    def _handle(self, connection: socket.socket) -> None:
        data = b""
        while b"JSON" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                return
            data += chunk
        head, _, body = data.partition(b"JSON")
        parts, needed = [body], int(head.split()[1]) - len(body)
        while needed > 0:
            chunk = connection.recv(min(needed, 1 << 20))
            if not chunk:
                return
            parts.append(chunk)
            needed -= len(chunk)
        request = json.loads(b"".join(parts))
        if self.silent:
            self._stop.wait(10)
            return
        self.requests.append(request)
        if "action" in request:
            self._queue.append((request, partial(_reply_and_close, connection.dup())))
        else:
            _reply(connection, self._answer(request))

    def _answer(self, request: Json) -> Json:
        with self.lock:
            if "job" in request:
                return self._add_job(request["job"], 3)
            if "monitor" in request:
                return self._register(request["monitor"])
            return self._get(request.get("get", {}))

    def _get(self, get: Json) -> Json:
        ids = get.get("ids")
        match get.get("type"):
            case "jobs":
                return self._get_jobs(get, ids)
            case "monitors":
                return self._get_monitors(get, ids)
            case "renders":
                return {
                    "renders": [self._render(each) for each in self._renders.values() if not ids or each["id"] in ids]
                }
            case "users":
                return recording("users_get")["answer"]
            case "pools":
                return {"pools": [self._pool(path) for path in sorted(self.pools)]}
        return recording("unknown_request")["answer"]

    def _pool(self, path: str) -> Json:
        branch = path if path == "/" else f"{path}/"
        below = [each for each in self._renders.values() if f"{each['pool']}/".startswith(branch)]
        return {**recording("pools_get")["answer"]["pools"][0], "name": path, "renders_total": len(below)}

    def _get_jobs(self, get: Json, ids: list[int] | None) -> Json:
        numbers = sorted(self.jobs) if ids is None else [number for number in ids if number in self.jobs]
        if ids is not None and len(ids) == 1 and not numbers:
            return _error("Invalid ID")
        if "users" in get:
            numbers = [number for number in numbers if self.jobs[number].shown["user_name"] in get["users"]]
        if get.get("mode") == "log":
            job = self.jobs[numbers[0]]
            return {"message": {"name": job.shown["name"], "type": "log", "list": list(job.log)}}
        if get.get("mode") == "progress":
            blocks = self.jobs[numbers[0]].tasks
            progress = [[{"state": f" {task.state}", "st": 1, "hst": task.host} for task in block] for block in blocks]
            return {"job_progress": {"id": numbers[0], "progress": progress}}
        return {"jobs": [self._told(number) for number in numbers]}

    def _told(self, number: int) -> Json:
        job = self.jobs[number]
        states = [task.state for block in job.tasks for task in block]
        words = [word for word in ("RDY", "RUN") if word in states] or ["DON"]
        running = states.count("RUN")
        told = {**job.shown, "id": number, "state": " " + " ".join(words + ["OFF"] * job.offline)}
        told["blocks"] = [
            {**about, "block_num": at, "p_tasks_done": sum(task.state == "DON" for task in tasks)}
            for at, (about, tasks) in enumerate(zip(job.shown["blocks"], job.tasks, strict=True))
        ]
        counted = {"tasks_ready": states.count("RDY"), "running_tasks_num": running}
        told.update({key: value for key, value in counted.items() if value})
        # Empty keys are left out, and a server before 3.4.0 does not know mask types.
        told = {key: value for key, value in told.items() if value not in ("", False, {})}
        if self.version < "3.4.0":
            told.pop("hosts_mask_type", None)
        return told

    def _render(self, render: Json) -> Json:
        tasks = [
            {"job_id": number, "block_num": block, "task_num": task_number, "job_name": job.shown["name"]}
            | {"user_name": job.shown["user_name"], "time_start": 1}
            for number in sorted(self._busy & self.jobs.keys())
            for job in (self.jobs[number],)
            for block, task_number, task in job.running()
            if task.host == render["name"]
        ]
        return {**render, "tasks": tasks} if tasks else render

    def _add_job(self, sent: Json, rounds: int) -> Json:
        with self.lock:
            number = next(number for number in range(2, CAPACITY) if number not in self.jobs)
            self._serial += 1
            blocks = [dict(block) for block in sent["blocks"]]
            tasks = [[FarmTask() for _ in range(tasks_in(block))] for block in blocks]
            shown = {key: value for key, value in sent.items() if key not in ("offline", "blocks")}
            shown = {"hosts_mask_type": "find", "time_creation": int(time.time()), **shown}
            shown.update(serial=self._serial, blocks=blocks, branch="/jobs")
            mask = (sent.get("hosts_mask_exclude", ""), self._type(shown["hosts_mask_type"]))
            job = FarmJob(
                shown, mask if compiles(*mask) else ("", mask[1]), tasks, rounds, offline=bool(sent.get("offline"))
            )
            job.log.append(f"{_now()}: afanasy: jobs: {shown['name']}: Initialized.")
            self.jobs[number] = job
            self._remember(job)
            self._event("jobs_add", number)
            return {"id": number, "serial": self._serial}

    def _type(self, mask_type: str) -> str:
        return "regex" if self.version < "3.4.0" else mask_type

    def _remember(self, job: FarmJob) -> None:
        self.masks.append((time.monotonic(), job.shown["serial"], *job.compiled))

    # --- monitors ---

    def _register(self, about: Json) -> Json:
        number = next(number for number in range(1, 1000) if number not in self._monitors)
        told = {"name": f"{about['user_name']}@{about['host_name']}", "id": number, "engine": about["engine"]}
        told = recording("live_monitor_register")["answer"]["monitor"] | told
        self._monitors[number] = _Monitor(told, time.monotonic())
        return {"monitor": told}

    def _get_monitors(self, get: Json, ids: list[int] | None) -> Json:
        self._forget_silent()
        there = [self._monitors[number] for number in ids or self._monitors if number in self._monitors]
        if get.get("mode") != "events":
            return {"monitors": [monitor.told for monitor in there]}
        if not there:
            return recording("live_monitor_events_zombie")["answer"]
        monitor = there[0]
        monitor.heard = time.monotonic()
        events, monitor.events = monitor.events, {}
        return {"events": events or None}

    def _forget_silent(self) -> None:
        now = time.monotonic()
        for number in [n for n, each in self._monitors.items() if now > each.heard + self.zombie_seconds]:
            del self._monitors[number]

    def _event(self, kind: str, number: int) -> None:
        for monitor in self._monitors.values():
            watched = kind.partition("_")[0] in monitor.classes
            if watched and (monitor.everybody or not kind.startswith("jobs")):
                ids = monitor.events.setdefault(kind, [])
                if number not in ids:
                    ids.append(number)

    def _watch(self, action: Json) -> Json:
        operation = action["operation"]
        for number in action["ids"]:
            if number not in self._monitors:
                return _error(f"Action node ID not found: {number}.")
            monitor = self._monitors[number]
            if operation["class"] == "perm":
                monitor.everybody = operation.get("uid") == 0
                return recording("live_monitor_perm_all")["answer"]
            monitor.classes.add(operation["class"])
        return {"info": {"kind": "log", "text": f"Subscribed on '{operation['class']}'"}}

    # --- rounds ---

    def _later(self, request: Json) -> Json:
        answer: SimpleQueue[Json] = SimpleQueue()
        self._queue.append((request, answer.put))
        return answer.get(timeout=30)

    def _rounds(self) -> None:
        while not self._stop.wait(self.round_seconds):
            with self.lock:
                self._round += 1
                self._worked_until = time.monotonic()
                if self._queue and self.before_actions:
                    self.before_actions()
                while self._queue:
                    request, answered = self._queue.popleft()
                    try:
                        answer = self._act(request["action"])
                    except Exception as error:  # noqa: BLE001 - a test must not wait forever
                        answer = _error(repr(error))
                    answered(answer)
                self._solve()
        while self._queue:
            self._queue.popleft()[1](_error("stopped"))

    def _work(self, seconds: float) -> None:
        """Takes this long. What other things took in this round is part of it: a sleep is never as short as requested,
        and hundreds of them would add up."""
        self._worked_until += seconds
        time.sleep(max(0.0, self._worked_until - time.monotonic()))

    def _act(self, action: Json) -> Json:
        self.actions.append(action)
        for key in ("user_name", "host_name"):
            if not action.get(key):
                return _error(f'Action should have a not empty "{key}" string.')
        if action["type"] == "monitors":
            return self._watch(action)
        answer = _DONE
        self._work(self.costs.of(len(action["ids"]), action.get("params", {})))
        for number in action["ids"]:
            if number >= CAPACITY:
                answer = _error(f"Action node ID above container capacity: {number} >= {CAPACITY}.")
            elif number not in self.jobs:
                answer = _error(f"Action node ID not found: {number}.")
            else:
                self._act_on(number, self.jobs[number], action)
        return answer

    def _act_on(self, number: int, job: FarmJob, action: Json) -> None:
        operation = action.get("operation", {}).get("type")
        if operation == "delete":
            del self.jobs[number]
            self._event("jobs_del", number)
            return
        if operation in ("pause", "start"):
            job.offline = operation == "pause"
            self._log(job, action, operation)
        elif operation == "restart":
            for block in action.get("block_ids", range(len(job.tasks))):
                for task in action["operation"].get("task_ids", range(len(job.tasks[block]))):
                    job.tasks[block][task] = FarmTask()
        elif not self.stubborn:
            self._set(job, action)
        self._event("jobs_change", number)

    def _set(self, job: FarmJob, action: Json) -> None:
        params = dict(action["params"])
        self._log_params(job, action)
        if "block_ids" in action:
            blocks = action["block_ids"]
            for block in range(len(job.tasks)) if blocks == [-1] else blocks:
                job.shown["blocks"][block].update(params)
            return
        if params.get("hosts_mask_type", "find") not in ("find", "regex"):
            del params["hosts_mask_type"]
        if self.version < "3.4.0":
            params.pop("hosts_mask_type", None)
            job.shown["pools"] = {}
        job.shown.update({"hidden": False, "annotation": job.shown.get("annotation", ""), **params})
        if not [part for part in SEPARATORS.split(job.shown.get("hosts_mask_exclude", "")) if part]:
            job.shown["hosts_mask_exclude"] = ""
        mask = (job.shown.get("hosts_mask_exclude", ""), self._type(job.shown["hosts_mask_type"]))
        if compiles(*mask):
            job.compiled = mask
        self._remember(job)

    def _log_params(self, job: FarmJob, action: Json) -> None:
        """The text for the log, with the keys in the order in which the real server reads them, and the values as
        given."""
        params = action["params"]
        said = ""
        for key in (*_KEYS, *(key for key in params if key not in _KEYS)):
            if key not in params:
                continue
            value = params[key]
            is_bad = key.startswith("hosts_mask") and not key.endswith("type") and not compiles(value, job.compiled[1])
            shown = str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
            said += f'\n"{key}" {"invalid pattern" if is_bad else "set to"} {shown}'
        if "block_ids" in action:
            said = "".join(f"\bBlock['{job.shown['blocks'][block]['name']}']: {said}" for block in action["block_ids"])
        self._log(job, action, "params", f" {said[1:]}" if said.startswith("\n") else said)

    def _log(self, job: FarmJob, action: Json, kind: str, said: str = "") -> None:
        who = f"{action['user_name']}@{action['host_name']} 127.0.0.1"
        job.log.append(f"{_now()}: {who}: jobs {kind}: {job.shown['name']}@{job.shown['user_name']}: {said}")
        del job.log[:-100]

    def _solve(self) -> None:
        for number in sorted(self._busy & self.jobs.keys()):
            for _, _, task in self.jobs[number].running():
                if self._round >= task.ends:
                    task.state = "DON"
                self._event("jobs_change", number)
        free: dict[str, int] = {}
        for name, render in self._renders.items():
            if "ONL" in render["state"] and "N" not in render["state"].replace("ONL", ""):
                free[name] = self.tasks_per_render
        for number in self._busy & self.jobs.keys():
            for _, _, task in self.jobs[number].running():
                if task.host in free:
                    free[task.host] -= 1
        for number, job in self.jobs.items():
            if number != 1 and not job.offline:
                self._start(job, free)
                if any(job.running()):
                    self._busy.add(number)
                else:
                    self._busy.discard(number)

    def _start(self, job: FarmJob, free: dict[str, int]) -> None:
        for block, tasks in enumerate(job.tasks):
            for task in tasks:
                if task.state != "RDY":
                    continue
                host = next((name for name, left in free.items() if left > 0 and job.lets(name, block)), None)
                if host is None:
                    break
                free[host] -= 1
                task.state, task.host, task.ends = "RUN", host, self._round + job.rounds
                self.ran.append((job.shown["name"], host))


def _now() -> str:
    return time.strftime("%a %d %b %H:%M.%S")


def main() -> None:
    """A separate server with the timing of a real one: prints its port, and stops when its input ends."""
    server = WorkingAfServer(tuple(sys.argv[1:]), round_seconds=1.0, costs=Costs())
    print(server.address[1], flush=True)
    sys.stdin.read()
    server.stop()


@contextmanager
def working_afserver(*renders: str, **how: Any) -> Iterator[WorkingAfServer]:
    server = WorkingAfServer(renders or ("pc-01", "pc-02", "pc-03"), **how)
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    main()
