"""`afpools certs`: the studio's keys and certificates."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.text import Text

from afpools.choice import WITHOUT
from afpools_broker.credentials.authorities import issuer_of
from afpools_broker.credentials.files import CredentialError
from afpools_broker.protocol import Role

from ..credentials import inspection, succession
from ..credentials.asking import ask_brokers
from ..credentials.authority import Authority
from ..credentials.certificates import CA_LIFETIME, LIFETIME, WARN_BEFORE_EXPIRY, cut_short
from ..credentials.endpoints import CURVE_PORT, TLS_PORT, default_endpoints
from ..credentials.files import PASSPHRASE_VARIABLE, AuthorityError, read_certificate
from ..credentials.listing import credentials
from ..network.addresses import is_loopback, own_names
from ..words import plural
from .options import JsonOption
from .output import console, fail, print_json, print_table, printable, say, table, warn

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keys and certificates: who may connect to the brokers, and in which role.",
)

FolderOption = Annotated[
    Path,
    typer.Option(
        "--dir", envvar="AFPOOLS_CERTS", metavar="DIR", file_okay=False, help="The folder with keys and certificates."
    ),
]
PassphraseOption = Annotated[
    bool, typer.Option("--passphrase", help="Encrypt its private key; you are asked for the passphrase.")
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help=f"Holds the passphrase of the authority's key. Without it: ${PASSPHRASE_VARIABLE}, or you are asked.",
    ),
]
DaysOption = Annotated[int, typer.Option(min=1, max=36500, help="How long it is valid.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace existing keys.")]

_FOLDER = Path("certs")


def _given_passphrase(file: Path | None) -> str | None:
    """The passphrase from a file or the environment, never from the command line, which every user on the machine can
    read."""
    if file is None:
        return os.environ.get(PASSPHRASE_VARIABLE) or None
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AuthorityError(f"{file}: the passphrase cannot be read: {error}.") from None
    if not text:
        raise AuthorityError(f"{file}: it is empty, and should hold the passphrase of the authority's key.")
    return text


def _new_passphrase(question: str, *, asked: bool, file: Path | None) -> str | None:
    """The passphrase for a new key; None if it is not to have one."""
    passphrase = _given_passphrase(file)
    if asked and passphrase is None:
        passphrase = typer.prompt(question, hide_input=True, confirmation_prompt=True, err=True)
    return passphrase


def _open(folder: Path, file: Path | None = None) -> Authority:
    passphrase = _given_passphrase(file)
    authority = Authority.open(folder, passphrase=passphrase)
    if passphrase is None and authority.needs_passphrase and sys.stdin.isatty():
        authority = Authority.open(
            folder, passphrase=typer.prompt("Passphrase of the authority's key", hide_input=True, err=True)
        )
    return authority


def _wrote(*paths: Path) -> None:
    for path in paths:
        console.print(Text.assemble(("wrote", "green"), f" {path}"), soft_wrap=True)


def _warn_if_cut_short(authority: Authority, path: Path, days: int) -> None:
    """Warns if the certificate in a file ends with its authority, earlier than was asked for."""
    certificate = read_certificate(path)
    issuer = issuer_of(certificate, authority.issuers)
    if issuer and cut_short(certificate, issuer, dt.timedelta(days=days), authority.now()):
        left = (issuer.expires - authority.now()).days
        warn(
            f"The certificate ends on {issuer.expires:%Y-%m-%d}, in {plural(left, 'day')} instead of {days:,}, because "
            f"the authority {issuer.name} ends then. `afpools certs ca --next` and "
            "`certs roll` change to another one."
        )


NameOption = Annotated[
    str | None,
    typer.Option(help="Your studio's name, as certificates show it. 'Studio'; for the next authority, as before."),
]
LockOutOption = Annotated[
    bool,
    typer.Option("--force", help="With --retire: even if brokers and clients depend on it and will be locked out."),
]


@app.command()
def ca(
    folder: FolderOption = _FOLDER,
    name: NameOption = None,
    days: DaysOption = CA_LIFETIME.days,
    passphrase: PassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
    make_next: Annotated[
        bool, typer.Option("--next", help="Make the one that takes over. It is trusted, and does not sign yet.")
    ] = False,
    retire: Annotated[bool, typer.Option("--retire", help="Stop trusting the one that has been replaced.")] = False,
    force: LockOutOption = False,
) -> None:
    """Make the studio's certificate authority, and replace it."""
    if make_next and retire:
        raise typer.BadParameter("the change begins with --next and ends with --retire.", param_hint="--retire")
    if force and not retire:
        raise typer.BadParameter(
            "it belongs to --retire: an authority is never replaced by force.", param_hint="--force"
        )
    if make_next:
        new_ca(folder, name, days, passphrase, passphrase_file)
    elif retire:
        retire_ca(folder, force, passphrase_file)
    else:
        secret = _new_passphrase("Passphrase for the authority's key", asked=passphrase, file=passphrase_file)
        Authority.create(folder, name=name or "Studio", passphrase=secret, lifetime=dt.timedelta(days=days))
        _wrote(folder / "ca" / "ca.pem", folder / "ca" / "ca-key.pem", folder / "ca" / "crl.pem")
        say(f"{folder / 'ca' / 'ca-key.pem'} lets its owner connect as anybody: keep it where few can read it.")
        say("Next: afpools certs broker NAME -a ADDRESS")


@app.command("new-ca", hidden=True)
def new_ca(
    folder: FolderOption = _FOLDER,
    name: NameOption = None,
    days: DaysOption = CA_LIFETIME.days,
    passphrase: PassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """The same as `ca --next`."""
    secret = _new_passphrase("Passphrase for the new key", asked=passphrase, file=passphrase_file)
    before = _open_to_read(folder)
    after = succession.begin(before, name=name, passphrase=secret, lifetime=dt.timedelta(days=days))
    assert after.successor is not None
    _wrote(after.next_key_path(after.successor), folder / "ca" / "ca.pem", folder / "ca" / "crl.pem")
    say(f"The authority {after.successor.name} is trusted from now on. {after.signer.name} still signs.")
    say(
        f"Next: copy {folder / 'ca' / 'ca.pem'} and {folder / 'ca' / 'crl.pem'} to every broker, and run "
        "`afpools certs roll`."
    )


_STEPS = {
    "trust": "These brokers do not trust the next authority, which therefore does not sign yet. Copy ca/ca.pem and "
    "ca/crl.pem to each, and run `afpools certs roll` again.",
    "clients": "These clients may still depend on the old authority. Copy each one's folder in profiles/ to its "
    "workstation (if it is not here, see `afpools certs renew NAME`), copy clients/ to the brokers, and run `afpools "
    "certs roll` again when they have connected over TLS.",
    "brokers": "These brokers do not show their new certificates. Copy brokers/NAME.pem to each, and run `afpools "
    "certs roll` again.",
}


@app.command()
def roll(
    folder: FolderOption = _FOLDER,
    done: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Take it from you that this broker or client is done with the current step, because it cannot be "
            "asked or is not seen; may be repeated, and may be a pattern like 'ws-*'.",
        ),
    ] = None,
    days: DaysOption = LIFETIME.days,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Move brokers and clients to the next authority, as far as is safe now, and say what the next step waits for.
    Exit status 1 while something is left."""
    authority = _open(folder, passphrase_file)
    rolled = succession.roll(authority, ask_brokers, done=done or (), lifetime=dt.timedelta(days=days))
    for name in rolled.renewed:
        say(f"Renewed: {name}")
        is_broker = authority.broker_paths(name)[0].exists()
        path = authority.broker_paths(name)[0] if is_broker else authority.client_paths(name)[0]
        _warn_if_cut_short(authority, path, days)
    if rolled.step == "retire":
        say("Nothing depends on the old authority any more. Next: afpools certs ca --retire")
        return
    for name, why in rolled.waiting.items():
        warn(f"{name}: {why}.")
    say(_STEPS[rolled.step])
    say("If one of them cannot be asked or is not in use, and you have done this for it: --done NAME.")
    raise typer.Exit(1)


@app.command("retire-ca", hidden=True)
def retire_ca(
    folder: FolderOption = _FOLDER,
    force: LockOutOption = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """The same as `ca --retire`."""
    authority = _open(folder, passphrase_file)
    retired = succession.retire(authority, force=force, ask=ask_brokers)
    if retired:
        say(f"No longer trusted: {', '.join(issuer.name for issuer in retired)}.")
    say(
        f"Next: copy {folder / 'ca' / 'ca.pem'} and {folder / 'ca' / 'crl.pem'} to every broker. The profiles here "
        "trust the remaining authority only: copy them once more, so that no workstation trusts the old one."
    )


@app.command()
def broker(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As in [broker] name of broker.toml.")] = "broker",
    addresses: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            "-a",
            metavar="HOST",
            help="Name or IP address that clients use for it, the best first; may be repeated. Without it: this "
            "machine's names and addresses, localhost last.",
        ),
    ] = None,
    tls_port: Annotated[int, typer.Option(min=1, max=65535, help="Written to profiles.")] = TLS_PORT,
    curve_port: Annotated[int, typer.Option(min=1, max=65535, help="Written to profiles.")] = CURVE_PORT,
    folder: FolderOption = _FOLDER,
    days: DaysOption = LIFETIME.days,
    force: ForceOption = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Make a broker's TLS certificate and CURVE keys."""
    authority = _open(folder, passphrase_file)
    replaced = authority.broker_paths(name)[0].exists()
    chosen = addresses or own_names()
    authority.issue_broker(
        name, chosen, tls_port=tls_port, curve_port=curve_port, lifetime=dt.timedelta(days=days), force=force
    )
    _wrote(*authority.broker_paths(name))
    _warn_if_cut_short(authority, authority.broker_paths(name)[0], days)
    say(f"Clients can use the broker as {', '.join(chosen)}.")
    if replaced:
        warn(
            f"The keys that {name!r} had are replaced. Restart it, renew every profile (afpools certs renew NAME), and "
            "copy the profiles again: clients that use CURVE know it by its key."
        )
    else:
        say("Next: afpools certs profile NAME --role reader")


@app.command()
def profile(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The client's: a person, or a workstation.")],
    role: Annotated[Role, typer.Option(help="reader: ask for pools and masks; manager: change pools, too.")],
    endpoints: Annotated[
        list[str] | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="tls://HOST:PORT or curve://HOST:PORT, the best first; may be repeated. Without it: all brokers.",
        ),
    ] = None,
    folder: FolderOption = _FOLDER,
    days: DaysOption = LIFETIME.days,
    force: Annotated[
        bool, typer.Option("--force", help="Revoke what the client has, and make new keys in its place.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    pool: Annotated[
        str, typer.Option(metavar="POOL", help="The studio's default for jobs without a chosen pool.")
    ] = "",
    required: Annotated[
        bool, typer.Option("--required", help="Jobs without a pool are not sent; artists cannot choose to have none.")
    ] = False,
) -> None:
    """Make the folder that lets a workstation connect, and register its keys."""
    if pool.strip() == WITHOUT:
        raise typer.BadParameter(f"{WITHOUT!r} says that there is none: leave --pool out.", param_hint="--pool")
    authority = _open(folder, passphrase_file)
    replaced = any(path.exists() for path in authority.client_paths(name))
    made = authority.issue_profile(
        name,
        role,
        endpoints or (),
        lifetime=dt.timedelta(days=days),
        force=force,
        pool=pool.strip(),
        required=required,
    )
    _wrote(*authority.client_paths(name), made)
    _warn_if_cut_short(authority, authority.client_paths(name)[0], days)
    if replaced:
        warn(f"What {name!r} had is revoked, and kept in {folder / 'revoked'}: copy the new profile.")
    _warn_of_loopback(authority, endpoints or default_endpoints(authority.brokers()))
    say(f"Next: copy {made} to the workstation, for its user only, and set AFPOOLS_PROFILE to where it is there.")


def _warn_of_loopback(authority: Authority, endpoints: Iterable[str]) -> None:
    """Warns if the profile's first endpoint is localhost, which on each machine is that machine."""
    first = next(iter(endpoints), "")
    host = urlsplit(first).hostname or ""
    if not is_loopback(host):
        return
    name = next((broker.name for broker in authority.brokers() if host in broker.addresses), "NAME")
    warn(
        f"The profile leads to {first} first: it works on the broker's own machine and on no other. If clients on "
        "other machines are to use it, make the broker's certificate for a name that they know "
        f"(afpools certs broker {name} -a HOST --force), then the profile again."
    )


@app.command()
def renew(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A broker or a client.")],
    folder: FolderOption = _FOLDER,
    days: DaysOption = LIFETIME.days,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Renew the certificate of a broker or client; it keeps its keys. The old certificate works until it expires."""
    authority = _open(folder, passphrase_file)
    made = authority.renew(name, lifetime=dt.timedelta(days=days))
    _wrote(made)
    is_broker = made == authority.broker_paths(name)[0]
    _warn_if_cut_short(authority, made if is_broker else authority.client_paths(name)[0], days)
    if made == authority.broker_paths(name)[0]:
        say("A broker on this machine shows it within a second; for any other, copy the file there.")
        if len(authority.issuers) > 1 and name in succession.still_needed(authority):
            say(
                "The previous authority has signed it, because some workstations may not know the new one. `afpools "
                f"certs roll` renews {name!r} when they do."
            )
    elif made == authority.profile_path(name):
        say("Next: copy the profile to the workstation again. Its CURVE key has more time already.")
    else:
        say(
            f"The profile of {name!r} is not here. Next: put {made} in place of the certificate in the workstation's "
            "client.pem. Its CURVE key has more time already."
        )
        if len(authority.issuers) > 1:
            say(f"And put {folder / 'ca' / 'ca.pem'} in place of its ca.pem: there is a new authority.")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A client.")],
    folder: FolderOption = _FOLDER,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Revoke everything that was ever issued to a client."""
    kept = _open(folder, passphrase_file).revoke(name)
    say(f"{name!r} is revoked, over TLS and CURVE.")
    if kept.exists():
        say(f"What it had is kept in {kept}.")
    say(
        "Brokers on this machine notice within a second, open connections included. For any other, copy "
        f"{folder / 'ca' / 'crl.pem'} there and remove clients/{name}.key."
    )


@app.command("list")
def list_credentials(folder: FolderOption = _FOLDER, as_json: JsonOption = False) -> None:
    """List all credentials, and how long they are valid."""
    authority = _open_to_read(folder)
    rows = credentials(authority)
    now = authority.now()
    if as_json:
        print_json(
            [
                {
                    "name": row.name,
                    "kind": row.kind,
                    "role": row.role,
                    "expires": row.expires.isoformat() if row.expires else None,
                    "days_left": (row.expires - now).days if row.expires else None,
                    "state": row.state,
                    "authority": row.authority,
                }
                for row in rows
            ]
        )
        return
    # The column is only useful while one authority takes over from another.
    several = ("Authority",) if len(authority.issuers) > 1 else ()
    made = table("Name", "Kind", "Role", "Expires", "Days left", "State", *several, right=("Days left",))
    for row in rows:
        expires, days = "never", Text()
        if row.expires is not None:
            expires = f"{row.expires:%Y-%m-%d}"
            soon = row.state == "valid" and row.expires - now < WARN_BEFORE_EXPIRY
            days = Text(str((row.expires - now).days), "yellow" if soon else "")
        state = Text(row.state, "" if row.state == "valid" else "red")
        issuer = (printable(row.authority),) if several else ()
        made.add_row(printable(row.name), row.kind, row.role, expires, days, state, *issuer)
    print_table(made)


@app.command()
def check(
    folder: FolderOption = _FOLDER,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Fix what is safe to fix: permissions, a lost or damaged revocation list."),
    ] = False,
    passphrase_file: PassphraseFileOption = None,
) -> None:
    """Check every file, and say what is wrong. Exit status 1 if something is."""
    authority = _open(folder, passphrase_file) if fix or passphrase_file else _open_to_read(folder)
    left = 0
    for problem in inspection.check(authority):
        if fix and problem.fix is not None:
            try:
                problem.fix()
            except (AuthorityError, OSError) as error:
                left += 1
                warn(f"{problem.sentence} It cannot be fixed: {error}")
            else:
                say(f"Fixed: {problem.sentence}")
        else:
            left += 1
            warn(problem.sentence)
    if left:
        fail(f"{plural(left, 'problem')} in {folder}.")
        raise typer.Exit(1)
    say(f"{folder}: no problems found.")


def _open_to_read(folder: Path) -> Authority:
    """The authority for work that needs no signature: does not ask for the passphrase."""
    return Authority.open(folder, passphrase=_given_passphrase(None))


def main() -> None:
    """Runs a command, and turns every expected error into one line."""
    try:
        app()
    except (AuthorityError, CredentialError) as error:
        fail(str(error))
        sys.exit(1)
