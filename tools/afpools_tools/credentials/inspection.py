"""`afpools certs check`: looks at every file in a folder of credentials, and says what is wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from afpools_broker.credentials.authorities import Issuer, issuer_of, parse_issuers
from afpools_broker.credentials.files import UNREADABLE, CredentialError, explain
from afpools_broker.credentials.keys import parse_key_file, read_curve_secret, same_key, too_open

from ..words import plural
from .authority import Authority
from .certificates import WARN_BEFORE_EXPIRY
from .files import MAKE_ANEW, AuthorityError, files_in, load_key, read, read_certificate, role_and_name


@dataclass(frozen=True)
class Problem:
    """Something wrong in the folder.

    Args:
        sentence: what is wrong, and what to do.
        fix: fixes it; None if that is not safe without asking.
    """

    sentence: str
    fix: Callable[[], object] | None = None


def check(authority: Authority) -> list[Problem]:
    """Everything that is wrong in the authority's folder."""
    return list(_Inspection(authority).problems())


class _Inspection:
    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._folder = authority.folder
        self._now = authority.now()
        # Certificates that have been reported: a client's is in two places.
        self._ending: set[int] = set()

    def problems(self) -> Iterator[Problem]:
        yield from self._check_ca()
        yield from self._check_crl()
        yield from self._check_brokers()
        yield from self._check_clients()
        yield from self._check_profiles()
        yield from self._check_permissions()

    def _check_ca(self) -> Iterator[Problem]:
        path = self._folder / "ca" / "ca.pem"
        alone = len(self._authority.issuers) == 1
        change = "Run `afpools certs ca --next`." if alone else "Finish the change: `afpools certs roll`."
        for issuer in self._authority.issuers:
            if issuer.expires <= self._now:
                yield Problem(f"{path}: the authority {issuer.name} expired on {issuer.expires:%Y-%m-%d}. {change}")
            elif issuer == self._authority.signer and issuer.expires - self._now < WARN_BEFORE_EXPIRY:
                yield Problem(
                    f"{path}: the authority {issuer.name} {self._ends(issuer.expires)}. Nothing that it has issued is "
                    f"valid afterwards. {change}"
                )
        if self._authority.can_sign:
            try:
                self._authority.ca_key()
            except AuthorityError as error:
                yield Problem(str(error))

    def _check_crl(self) -> Iterator[Problem]:
        try:
            superseded = self._authority.superseded()
        except AuthorityError as error:
            yield Problem(f"{error} Restore it from a backup: a certificate that is not known cannot be revoked.")
            return
        path = self._authority.crl.path
        good = [issuer for issuer in self._authority.issuers if issuer.expires > self._now]
        try:
            lists = self._authority.crl.read()
        except AuthorityError as error:
            yield Problem(str(error), partial(self._rewrite_lists, good))
            return
        if self._authority.crl.holds_others():
            yield Problem(
                f"{path}: it holds a list of an authority that is not in ca/ca.pem.",
                partial(self._authority.crl.keep, self._authority.issuers),
            )
        for issuer in good:
            if issuer.id not in lists:
                yield Problem(self._authority.crl.missing(issuer), partial(self._authority.rewrite_crl, issuer))
            elif lists[issuer.id].next_update <= self._now:
                yield Problem(
                    f"{path}: the list of the authority {issuer.name} should have been replaced by "
                    f"{lists[issuer.id].next_update:%Y-%m-%d}.",
                    partial(self._authority.rewrite_crl, issuer),
                )
        # Several certificates with one name are revoked together.
        accepted = {
            name
            for (issuer_id, serial), name in superseded.items()
            if issuer_id in lists and serial not in lists[issuer_id].revoked
        }
        for name in sorted(accepted):
            yield Problem(
                f"A certificate of {name!r} is still accepted, but its key is no longer registered in clients/. "
                f"Run `afpools certs revoke {name}`."
            )

    def _rewrite_lists(self, issuers: list[Issuer]) -> None:
        for issuer in issuers:
            self._authority.rewrite_crl(issuer)

    def _check_certificate(self, path: Path, role: str, command: str) -> Iterator[Problem]:
        """Checks one certificate's chain, dates, role and name, and its key if that is in the same file."""
        try:
            certificate = read_certificate(path)
            signed_role, signed_name = role_and_name(certificate, path)
        except AuthorityError as error:
            yield Problem(f"{error} Run `{command}`.")
            return
        if issuer_of(certificate, self._authority.issuers) is None:
            yield Problem(f"{path}: it was not issued by an authority in ca/ca.pem. Run `{command}`.")
        if certificate.not_valid_after_utc <= self._now:
            yield Problem(
                f"{path}: it expired on {certificate.not_valid_after_utc:%Y-%m-%d}. "
                f"Run `afpools certs renew {signed_name}`."
            )
        elif (
            certificate.not_valid_after_utc - self._now < WARN_BEFORE_EXPIRY
            and certificate.serial_number not in self._ending
        ):
            self._ending.add(certificate.serial_number)
            yield Problem(
                f"{path}: it {self._ends(certificate.not_valid_after_utc)}. Run `afpools certs renew {signed_name}`, "
                "and copy what it wrote."
            )
        name = path.parent.name if path.name == "client.pem" else path.stem
        if (signed_role, signed_name) != (role, name):
            yield Problem(f"{path}: it is that of the {signed_role} {signed_name!r}. Run `{command}`.")
        if b"PRIVATE KEY" in read(path):
            try:
                if not same_key(certificate, load_key(path)):
                    yield Problem(f"{path}: its certificate and its key do not match. Run `{command}`.")
            except AuthorityError as error:
                yield Problem(str(error))
        elif path.parent.name != "clients":
            yield Problem(f"{path}: it has no private key. Run `{command}`.")

    def _ends(self, expires: dt.datetime) -> str:
        return f"expires on {expires:%Y-%m-%d}, in {plural((expires - self._now).days, 'day')}"

    def _check_brokers(self) -> Iterator[Problem]:
        folder = self._folder / "brokers"
        for name in sorted(
            {path.stem for ending in (".pem", ".key", ".key_secret") for path in files_in(folder, ending)}
        ):
            pem, public_path, secret_path = self._authority.broker_paths(name)
            command = f"afpools certs broker {name} --force"
            missing = [path for path in (pem, public_path, secret_path) if not path.exists()]
            if missing:
                yield Problem(f"{missing[0]}: there is no such file. Run `{command}`.")
                continue
            yield from self._check_certificate(pem, "broker", command)
            try:
                listed = parse_key_file(read(public_path).decode())["curve"]["public-key"]
                if read_curve_secret(secret_path)[0].decode() != listed:
                    yield Problem(f"{public_path} and {secret_path} do not belong together. Run `{command}`.")
            except CredentialError as error:
                yield Problem(str(error))
            except (ValueError, KeyError) as error:
                yield Problem(f"{public_path}: it is not a CURVE key: {explain(error)}. Run `{command}`.")

    def _check_clients(self) -> Iterator[Problem]:
        folder = self._folder / "clients"
        keys = {path.stem: path for path in files_in(folder, ".key")}
        for name, path in keys.items():
            try:
                key = self._authority.read_curve_key(path)
            except AuthorityError as error:
                yield Problem(str(error))
                continue
            if key.expires is not None and key.expires <= self._now:
                yield Problem(f"{path}: it expired on {key.expires:%Y-%m-%d}. Run `afpools certs renew {name}`.")
            pem = self._authority.client_paths(name)[0]
            if pem.exists():
                yield from self._check_certificate(
                    pem, key.peer.role, f"afpools certs profile {name} --role {key.peer.role} --force"
                )
        for path in files_in(folder, ".pem"):
            if path.stem not in keys:
                yield Problem(
                    f"{path.with_suffix('.key')}: there is no such file, but the certificate beside it is accepted. "
                    f"Run `afpools certs revoke {path.stem}`."
                )

    def _check_profiles(self) -> Iterator[Problem]:
        folder = self._folder / "profiles"
        server_keys = set()
        with contextlib.suppress(AuthorityError):  # said already
            server_keys = {broker.server_key for broker in self._authority.brokers()}
        for profile in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = profile.name
            if name.startswith(".") or not profile.is_dir():
                continue
            pem, key_path = self._authority.client_paths(name)
            files = ("profile.json", "ca.pem", "client.pem", "client.key_secret")
            missing = [profile / file for file in files if not (profile / file).exists()]
            if missing or not pem.exists() or not key_path.exists():
                what = missing[0] if missing else pem if not pem.exists() else key_path
                yield Problem(f"{what}: there is no such file, and the profile {name!r} needs it. {MAKE_ANEW}")
                continue
            try:
                key = self._authority.read_curve_key(key_path)
                if read_curve_secret(profile / "client.key_secret")[0].decode() != key.public_key:
                    yield Problem(f"{profile / 'client.key_secret'}: it is not the key in {key_path}. {MAKE_ANEW}")
                yield from self._check_certificate(
                    profile / "client.pem",
                    key.peer.role,
                    f"afpools certs profile {name} --role {key.peer.role} --force",
                )
                if set(parse_issuers(read(profile / "ca.pem"))) != set(self._authority.issuers):
                    yield Problem(
                        f"{profile / 'ca.pem'}: it does not hold the same authorities as ca/ca.pem. Run "
                        f"`afpools certs renew {name}`, and copy the profile."
                    )
                self._authority.urls(profile)
                for entry in json.loads(read(profile / "profile.json"))["endpoints"]:
                    if entry["url"].startswith("curve:") and entry.get("server_key") not in server_keys:
                        yield Problem(
                            f"{profile / 'profile.json'}: the server_key of {entry['url']} does not belong to a "
                            f"broker here. Run `afpools certs renew {name}`."
                        )
            except (AuthorityError, CredentialError) as error:
                yield Problem(str(error))
            except UNREADABLE as error:
                yield Problem(f"{profile / 'ca.pem'}: {explain(error)}. Run `afpools certs renew {name}`.")

    def _check_permissions(self) -> Iterator[Problem]:
        secrets_found = [self._authority.ca_key_path, *files_in(self._folder / "ca" / "former", ".pem")]
        secrets_found += files_in(self._folder / "ca" / "next", ".pem")
        secrets_found += files_in(self._folder / "brokers", ".pem") + files_in(self._folder / "brokers", ".key_secret")
        for folder in ("profiles", "revoked"):
            for pattern in ("client.pem", "client.key_secret"):
                secrets_found += sorted((self._folder / folder).rglob(pattern))
        for path in secrets_found:
            sentence = too_open(path)
            if sentence:
                yield Problem(sentence, partial(path.chmod, 0o600))
        for name in ("ca", "brokers", "clients", "profiles", "revoked"):
            folder_path = self._folder / name
            if folder_path.is_dir() and stat.S_IMODE(folder_path.stat().st_mode) & 0o022:
                # Read access may be intended: the broker's user needs some of the files. With write access, others
                # could register keys.
                yield Problem(
                    f"{folder_path} can be changed by others than its owner. Run `afpools certs check --fix`.",
                    partial(folder_path.chmod, 0o700),
                )
