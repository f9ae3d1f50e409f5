"""`afpools certs` as it is typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from afpools.profile import studio_default
from afpools_tools.commands import certs
from afpools_tools.credentials.authority import Authority

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs one command; errors come back as the exceptions that `main` prints."""
    monkeypatch.setenv("AFPOOLS_CERTS", str(tmp_path / "certs"))
    monkeypatch.delenv("AFPOOLS_CA_PASSPHRASE", raising=False)
    runner = CliRunner()

    def run(*arguments, **options):
        result = runner.invoke(certs.app, [*map(str, arguments)], **options)
        return result.exit_code, result.output, result.exception

    return run


def test_from_nothing_to_a_profile_in_three_commands(run, tmp_path):
    assert run("ca", "--name", "Studio X")[0] == 0
    assert run("broker", "broker", "-a", "render-broker", "-a", "10.0.0.5")[0] == 0
    code, output, _ = run("profile", "anna", "--role", "reader")
    assert code == 0
    profile = tmp_path / "certs" / "profiles" / "anna"
    assert f"wrote {profile}" in output
    assert json.loads((profile / "profile.json").read_text())["endpoints"][0]["url"] == "tls://render-broker:5571"
    assert run("check") == (0, f"{tmp_path / 'certs'}: no problems found.\n", None)


def test_a_certificate_cut_short_by_its_authoritys_end_says_so_when_it_is_made(run):
    run("ca", "--days", 60)
    for command in (("broker", "broker", "-a", "here"), ("profile", "anna", "--role", "reader"), ("renew", "anna")):
        code, output, _ = run(*command)
        assert code == 0
        assert "in 59 days instead of 397, because the authority 'Studio' (" in output
        assert "because" not in run("renew", command[1], "--days", 59)[1]


def test_check_fails_a_month_before_a_certificate_ends_and_says_what_to_renew(run):
    run("ca", "--days", 60)
    run("broker", "broker", "-a", "here", "--days", 45)
    run("profile", "anna", "--role", "reader", "--days", 20)
    code, output, _ = run("check")
    assert code == 1
    assert output.count("in 19 days") == 1
    assert "Run `afpools certs renew anna`, and copy what it wrote." in output
    assert "1 problem in" in output
    run("renew", "anna", "--days", 45)
    assert run("check")[0] == 0


def test_check_fails_a_month_before_the_authority_ends(run):
    run("ca", "--days", 20)
    code, output, _ = run("check")
    assert code == 1
    assert "expires on" in output
    assert "Run `afpools certs ca --next`." in output


def test_a_role_must_be_chosen(run):
    run("ca")
    run("broker")
    code, output, _ = run("profile", "anna")
    assert code == 2
    assert "--role" in output


def test_the_list_for_programs_has_every_credential(run):
    run("ca")
    run("broker", "--days", 90)
    run("profile", "anna", "--role", "manager", "--days", 10)
    rows = json.loads(run("list", "--json")[1])
    assert [(row["name"], row["kind"], row["role"], row["days_left"], row["state"]) for row in rows] == [
        ("Studio", "TLS", "ca", 3649, "valid"),
        ("broker", "TLS", "broker", 89, "valid"),
        ("broker", "CURVE", "broker", None, "valid"),
        ("anna", "TLS", "manager", 9, "valid"),
        ("anna", "CURVE", "manager", 9, "valid"),
    ]


def test_the_list_for_people_has_every_credential(run):
    run("ca")
    run("broker")
    run("profile", "anna", "--role", "reader")
    run("revoke", "anna")
    output = run("list")[1]
    assert [line.split()[0] for line in output.splitlines()] == ["Name", "Studio", "broker", "broker", "anna"]
    assert "revoked" in output


def test_check_fails_with_sentences_and_fix_repairs(run, tmp_path):
    run("ca")
    run("broker")
    path = tmp_path / "certs" / "brokers" / "broker.pem"
    path.chmod(0o644)
    code, output, _ = run("check")
    assert code == 1
    assert f"{path} holds a private key and is open to users other than its owner" in output
    assert run("check", "--fix")[0] == 0
    assert run("check")[0] == 0


def test_replacing_says_what_was_replaced(run):
    run("ca")
    run("broker")
    run("profile", "anna", "--role", "reader")
    assert "exists" in str(run("profile", "anna", "--role", "manager")[2])
    assert "is revoked" in run("profile", "anna", "--role", "manager", "--force")[1]
    assert "exists" in str(run("broker")[2])
    assert "are replaced" in run("broker", "--force")[1]


def test_renewing_and_revoking_say_what_to_do_next(run):
    run("ca")
    run("broker")
    run("profile", "anna", "--role", "reader")
    assert "copy the profile" in run("renew", "anna")[1]
    assert "within a second" in run("renew", "broker")[1]
    assert "within a second" in run("revoke", "anna")[1]


@pytest.mark.parametrize("way", ["file", "variable"])
def test_the_passphrase_comes_from_a_file_or_a_variable(run, tmp_path, monkeypatch, way):
    options = []
    if way == "file":
        file = tmp_path / "passphrase"
        file.write_text("correct horse\n")
        options = ["--passphrase-file", file]
    else:
        monkeypatch.setenv("AFPOOLS_CA_PASSPHRASE", "correct horse")
    assert run("ca", *options)[0] == 0
    assert run("broker", *options)[0] == 0
    monkeypatch.delenv("AFPOOLS_CA_PASSPHRASE", raising=False)
    assert "has a passphrase" in str(run("broker", "second")[2])
    Authority.open(tmp_path / "certs", passphrase="correct horse").issue_broker("third", ["localhost"])


def test_the_passphrase_is_asked_for_twice(run, tmp_path):
    code, output, _ = run("ca", "--passphrase", input="correct horse\ncorrect horse\n")
    assert code == 0
    assert "correct horse" not in output
    assert Authority.open(tmp_path / "certs").needs_passphrase


def test_an_empty_passphrase_file_does_not_mean_no_passphrase(run, tmp_path):
    file = tmp_path / "passphrase"
    file.write_text("\n")
    assert "it is empty" in str(run("ca", "--passphrase-file", file)[2])
    assert not (tmp_path / "certs").exists()


def test_it_runs_from_a_checkout_as_a_plain_script(tmp_path):
    def script(*arguments):
        command = [sys.executable, CHECKOUT / "tools" / "certs.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert "revoke" in script("--help").stdout
    failed = script("broker")
    assert failed.returncode == 1
    assert "certs has no certificate authority (ca/ca.pem). If your studio has one already, name its folder" in (
        " ".join(failed.stderr.split())
    )
    assert script("ca").returncode == 0
    assert (tmp_path / "certs" / "ca" / "ca.pem").exists()


def test_a_profile_carries_the_default_pool_and_keeps_it_when_renewed(run, tmp_path):
    run("ca")
    run("broker")
    assert run("profile", "kim", "--role", "reader", "--pool", "render", "--required")[0] == 0
    assert run("profile", "anna", "--role", "reader")[0] == 0
    profile = tmp_path / "certs" / "profiles" / "kim"
    assert studio_default(str(profile)) == ("render", True)
    assert run("renew", "kim")[0] == 0
    assert studio_default(str(profile)) == ("render", True)
    assert not {"pool", "required"} & json.loads((profile.with_name("anna") / "profile.json").read_text()).keys()
    assert run("profile", "max", "--role", "reader", "--pool", "-")[0] == 2
