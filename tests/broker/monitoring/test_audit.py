"""The audit: who did what, and who was refused, in a file of its own."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.broker.store.places import wait_until
from tests.command import environment, running
from tests.desk import MANAGER, READER, Desk

from afpools import Client, Forbidden
from afpools.profile import Profile
from afpools_broker.monitoring.audit import shown
from afpools_broker.monitoring.lines import FIELDS
from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority


def test_a_change_names_who_made_it_from_where_and_in_which_request(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "afpools")
    desk.raw(b'{"v":1,"id":"7f3a0c55aa","op":"pools.create","params":{"pool":"fx","request_id":"1"}}')
    (record,) = [record for record in caplog.records if record.name == "afpools.audit"]
    fields = getattr(record, FIELDS)
    assert fields.pop("what")
    assert fields == {
        "outcome": "done",
        "who": MANAGER.name,
        "address": "127.0.0.1:40000",
        "op": "pools.create",
        "request": "7f3a0c55aa",
    }
    assert record.getMessage().endswith("(request 7f3a0c55)")


def test_a_refused_change_names_its_sender(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.ask("pools.delete", READER, pool="fx")
    (fields,) = [fields for record in caplog.records if (fields := getattr(record, FIELDS, {})).get("outcome")]
    assert (fields["outcome"], fields["who"], fields["role"], fields["op"]) == (
        "refused",
        READER.name,
        "reader",
        "pools.delete",
    )


def test_reading_is_not_audited(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "afpools")
    desk.ok("pools.list")
    assert [record for record in caplog.records if record.name == "afpools.audit"] == []


@pytest.mark.parametrize(
    ("request_id", "said"),
    [("7f3a0c55aaaa", "7f3a0c55"), ("a\n<0>b", "a0b"), ("", "without an id"), ("\u2028", "without an id")],
)
def test_an_id_that_a_client_made_up_cannot_break_a_line(request_id: str, said: str) -> None:
    assert shown(request_id) == said


# --- a whole broker


@pytest.fixture
def config(tmp_path: Path) -> Path:
    authority = Authority.create(tmp_path / "certs")
    authority.issue_broker("broker", ["127.0.0.1"])
    authority.issue_profile("anna", Role.MANAGER)
    authority.issue_profile("bert", Role.READER)
    file = tmp_path / "broker.toml"
    file.write_text(
        '[broker]\naudit_log = "audit.jsonl"\nlog_level = "warning"\n[curve]\nenabled = false\n'
        f'[tls]\nport = {free_port()}\n[store]\nuri = "sqlite:///pools.sqlite"\n[farm]\nserver = ""\n'
    )
    return file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def client(config: Path, name: str) -> Client:
    profile = Profile.load(str(Authority.open(config.parent / "certs").profile_path(name)))
    port = config.read_text().partition("port = ")[2].partition("\n")[0]
    endpoint = profile.endpoints[0]._replace(url=f"tls://127.0.0.1:{port}")
    return Client(profile._replace(endpoints=(endpoint,)), timeout=20)


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_the_file_has_changes_and_refusals_whatever_the_log_level_and_can_be_rotated(
    config: Path, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as broker:
        wait_until(audit.exists)
        with client(config, "anna") as anna, client(config, "bert") as bert:
            wait_until(lambda: answers(anna))
            anna.create_pool("fx", ["pc-01"], new_hosts=True)
            with pytest.raises(Forbidden):
                bert.delete_pool("fx")
            wait_until(lambda: len(entries(audit)) == 2)
            audit.rename(tmp_path / "audit.1")
            broker.process.send_signal(signal.SIGHUP)
            wait_until(audit.exists)
            anna.delete_pool("fx")
            wait_until(lambda: len(entries(audit)) == 1)
    done, refused = entries(tmp_path / "audit.1")
    assert (done["outcome"], done["who"], done["op"]) == ("done", "anna", "pools.create")
    assert (refused["outcome"], refused["who"], refused["op"]) == ("refused", "bert", "pools.delete")
    assert entries(audit)[0]["op"] == "pools.delete"
    assert "pools.create" not in broker.err
    assert "'bert' (reader)" in broker.err
    assert audit.stat().st_mode & 0o777 == 0o600


def answers(client: Client) -> bool:
    try:
        client.list_pools()
    except Exception:  # noqa: BLE001 - it has just been started
        return False
    return True


def test_a_file_that_cannot_be_opened_is_one_line(config: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as broker:
        assert broker.process.wait(30) == 1
    assert "audit.jsonl cannot be opened: Is a directory." in broker.err
    assert "Traceback" not in broker.err
