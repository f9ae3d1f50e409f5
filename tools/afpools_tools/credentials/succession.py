"""One authority takes over from another, and nobody is refused meanwhile, however long it takes.

Strategy: each side trusts before the other side shows.

1. `begin` makes the next authority, which is trusted and does not sign.
2. When every broker trusts it, it signs (`switch`), and every client is renewed.
3. When every client has connected with its new certificate, and so has a profile that trusts the next authority, every
   broker is renewed.
4. When every broker shows its new certificate, the old authority can be retired.

`roll` takes as many of these steps as it can, and says what the next one waits for. Every function can be repeated
after an interruption: what is trusted is written before what signs, and the signer follows from the files alone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from afpools_broker.credentials.authorities import Issuer, common_name, issuer_id, issuer_of, parse_issuers
from afpools_broker.credentials.files import UNREADABLE

from .asking import Answer, Ask, Seen
from .authority import Authority
from .certificates import CA_LIFETIME, LIFETIME, make_authority
from .files import AuthorityError, files_in, key_to_pem, read, read_certificate, to_pem, write
from .progress import Progress, end_progress, in_progress, read_progress, write_progress

# A client may be several workstations. If one of them still uses the old certificate after another has been seen with
# the new one, its profile counts as carried once the old one has not been used for this long.
QUIET = dt.timedelta(hours=1)

Step = Literal["trust", "clients", "brokers", "retire"]


@dataclass(frozen=True)
class Rolled:
    """How far `roll` has come.

    Args:
        step: what it waits for: that brokers `trust` the next authority, that `clients` have their new profiles, that
            `brokers` show their new certificates; or nothing, and the old authority can be retired.
        waiting: a clause for each broker or client that the step waits for, by its name.
        renewed: the brokers and clients that have new certificates in the folder now.
    """

    step: Step
    waiting: Mapping[str, str]
    renewed: tuple[str, ...] = ()


# --- the steps in the folder ----------------------------------------------------------------------------------------


def begin(
    before: Authority, *, name: str | None = None, passphrase: str | None = None, lifetime: dt.timedelta = CA_LIFETIME
) -> Authority:
    """Makes the next authority, which does not sign anything until `switch`. If there is one already, gives it to the
    profiles that lack it.

    Args:
        before: the current authority.
        name: the studio's; unchanged if not given. Both authorities may have the same name.
        passphrase: for the new private key. The first key keeps its own.
        lifetime: the longest for everything that it will issue, too.

    Returns:
        The folder as it is then; `successor` is the new authority.

    Raises:
        AuthorityError: the change has gone further already, or the folder cannot be written.
    """
    ca = before.folder / "ca"
    if len(before.issuers) > 1 and before.successor is None:
        raise AuthorityError(
            f"{ca / 'ca.pem'} holds {len(before.issuers)} authorities already. Finish with the last change first: "
            "`afpools certs roll`, then `afpools certs ca --retire`."
        )
    if before.successor is None:
        with before.locked():
            for left_behind in files_in(ca / "next", ".pem"):
                left_behind.unlink()
            key, certificate = make_authority(name or common_name(before.certificate), lifetime, before.now())
            issuer = Issuer(certificate, issuer_id(certificate))
            # The key and the list before the authority: a broker never finds an authority without its list.
            write(before.next_key_path(issuer), key_to_pem(key, passphrase), secret=True)
            before.crl.put(issuer, {}, key)
            write_progress(before.folder, Progress(issuer.id.hex()))
            write(ca / "ca.pem", before.ca_pem() + to_pem(certificate))
    after = before.again()
    _hand_out(after)
    return after


def switch(before: Authority) -> Authority:
    """Lets the next authority sign from now on. Every broker must trust it already.

    Returns:
        The folder as it is then.

    Raises:
        AuthorityError: the next authority's key is not here.
    """
    assert before.successor is not None
    key = read(before.next_key_path(before.successor))
    with before.locked():
        if before.ca_key_path.exists():
            write(before.former_key_path(before.signer), read(before.ca_key_path), secret=True)
        # From here the next one is the signer, whatever the order in ca.pem.
        write(before.ca_key_path, key, secret=True)
    return _settle(before.again())


def retire(authority: Authority, *, force: bool = False, ask: Ask | None = None) -> list[Issuer]:
    """Stops trusting every authority except the one that takes over, in ca.pem, crl.pem and the profiles that are here.

    Args:
        authority: the folder's.
        force: do it even if it locks out brokers and clients.
        ask: asks the brokers; without it, only what is known already counts.

    Returns:
        The authorities that are no longer trusted; none if an earlier, interrupted call had done that.

    Raises:
        AuthorityError: somebody still depends on such an authority; or the key of the one that is to stay is not here.
    """
    authority = _settle(authority)
    coming = authority.successor
    retired = [issuer for issuer in authority.issuers if issuer != (coming or authority.signer)]
    if not retired:
        if not in_progress(authority.folder):
            raise AuthorityError(
                f"{authority.folder / 'ca' / 'ca.pem'} holds only one authority, so none can be retired."
            )
        _clean_up(authority)
        return []
    if coming is not None:
        if not force and authority.signer.expires > authority.now():
            raise AuthorityError(
                f"The authority {coming.name} has not signed anything yet. Run `afpools certs roll` first. --force "
                "locks everybody out until they have new credentials."
            )
        authority = switch(authority)
    # Without the key, which of them is to stay would be a guess.
    authority.ca_key()
    if not force:
        _refuse_if_needed(authority, retired, ask)
    with authority.locked():
        write(authority.folder / "ca" / "ca.pem", to_pem(authority.certificate))
    _clean_up(authority.again())
    return retired


def _clean_up(authority: Authority) -> None:
    with authority.locked():
        authority.crl.keep([authority.signer])
    _hand_out(authority)
    # Last: while it is there, this can be repeated.
    end_progress(authority.folder)


def _hand_out(authority: Authority) -> None:
    """Writes the authorities to the profiles that are here."""
    for path in sorted((authority.folder / "profiles").glob("*/ca.pem")):
        with contextlib.suppress(*UNREADABLE):
            if set(parse_issuers(read(path))) == set(authority.issuers):
                continue
        write(path, authority.ca_pem())


def _settle(authority: Authority) -> Authority:
    """Completes a `switch` that was interrupted: the authority that signs is the first in ca.pem, and its key is in one
    place."""
    with authority.locked():
        signer = authority.signer
        waiting = authority.next_key_path(signer)
        if not waiting.exists():
            return authority
        others = [to_pem(issuer.certificate) for issuer in authority.issuers if issuer != signer]
        write(authority.folder / "ca" / "ca.pem", to_pem(signer.certificate) + b"".join(others))
        waiting.unlink()
    return authority.again()


def _refuse_if_needed(authority: Authority, retired: list[Issuer], ask: Ask | None) -> None:
    """
    Raises:
        AuthorityError: a client or broker depends on an authority that is to be retired.
    """
    names = ", ".join(issuer.name for issuer in retired)
    needed = still_needed(authority)
    if needed:
        raise AuthorityError(
            f"These have certificates that {names} issued: {', '.join(needed)}. Run `afpools certs roll` until nothing "
            "is left. --force locks them out."
        )
    state = _State(authority, ask(authority) if ask else {})
    waiting = {**state.clients(), **state.brokers()}
    state.keep()
    if waiting:
        raise AuthorityError(
            f"These still depend on {names}: {_listed(waiting)}. Run `afpools certs roll` until nothing is left. "
            "--force locks them out."
        )


def _listed(waiting: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({why})" for name, why in waiting.items())


def still_needed(authority: Authority) -> dict[str, Issuer]:
    """The names of brokers and clients whose certificates in the folder are not from the authority that signs."""
    found = {}
    paths = {
        path: path.stem for folder in ("brokers", "clients") for path in files_in(authority.folder / folder, ".pem")
    }
    # A renewal that was interrupted leaves a profile behind what is registered.
    paths |= {path: path.parent.name for path in sorted((authority.folder / "profiles").glob("[!.]*/client.pem"))}
    for path, name in paths.items():
        certificate = read_certificate(path)
        issuer = issuer_of(certificate, authority.issuers)
        if issuer is not None and issuer != authority.signer and certificate.not_valid_after_utc > authority.now():
            found[name] = issuer
    return found


# --- step by step ---------------------------------------------------------------------------------------------------


def roll(authority: Authority, ask: Ask, *, done: Iterable[str] = (), lifetime: dt.timedelta = LIFETIME) -> Rolled:
    """Takes every step that can be taken now.

    Args:
        authority: the folder's.
        ask: asks the brokers.
        done: names of brokers and clients, and patterns such as `ws-*`, that are taken to be done with the step that
            waits for them. A broker's own answer counts for more.
        lifetime: for renewed certificates, counted from now.

    Raises:
        AuthorityError: no change has begun, or a key cannot be used. What has been done stays done.
    """
    authority = _settle(authority)
    if len(authority.issuers) == 1:
        raise AuthorityError(
            f"{authority.folder / 'ca' / 'ca.pem'} holds one authority. `afpools certs ca --next` makes the next one."
        )
    # A word is about the step that waited for it: nobody can have carried what has just been made.
    words = tuple(done)
    if authority.successor is not None:
        # If the old one has expired, nobody can connect over TLS, or be locked out.
        if authority.signer.expires > authority.now():
            state = _State(authority, ask(authority), words)
            waiting = state.trust()
            state.keep()
            if waiting:
                return Rolled("trust", waiting)
        authority, words = switch(authority), ()
    renewed = list(_renew(authority, "clients", lifetime))
    state = _State(authority, ask(authority), () if renewed else words)
    waiting = state.clients()
    state.keep()
    if waiting:
        return Rolled("clients", waiting, tuple(renewed))
    brokers = list(_renew(authority, "brokers", lifetime))
    state = _State(authority, ask(authority), () if brokers or state.used_words else words)
    waiting = state.brokers()
    state.keep()
    return Rolled("brokers" if waiting else "retire", waiting, (*renewed, *brokers))


def _renew(authority: Authority, folder: str, lifetime: dt.timedelta) -> Iterator[str]:
    names = {path.stem for path in files_in(authority.folder / folder, ".pem")}
    for name in still_needed(authority):
        if name in names:
            authority.renew(name, lifetime=lifetime)
            yield name


class _State:
    """What is known of the brokers and clients: from their answers, from earlier, and on somebody's word.

    Args:
        authority: the folder's.
        answers: the brokers', by name.
        words: names and patterns to take as done.

    Attributes:
        used_words: whether something has been taken as done because of them.
    """

    def __init__(self, authority: Authority, answers: Mapping[str, Answer], words: Iterable[str] = ()) -> None:
        self._authority = authority
        self._answers = answers
        self._words = tuple(words)
        self.used_words = False
        self._to = (authority.successor or authority.signer).id.hex()
        self._progress = read_progress(authority.folder)
        if self._progress.to != self._to:
            self._progress = Progress(self._to)
        self._brokers = [path.stem for path in files_in(authority.folder / "brokers", ".pem")]

    def keep(self) -> None:
        """Remembers it."""
        write_progress(self._authority.folder, self._progress)

    def trust(self) -> dict[str, str]:
        """The brokers that do not trust the next authority, and why that is believed."""
        waiting, known = self._ask_each(
            lambda answer: self._to in answer.trusted, self._progress.trusting, "it does not trust the next authority"
        )
        self._progress = self._progress.trust(known)
        return waiting

    def brokers(self) -> dict[str, str]:
        """The brokers that still show a certificate of the old authority, and why that is believed."""
        waiting, known = self._ask_each(
            lambda answer: answer.shown == self._to,
            self._progress.showing | self._never_old(),
            "it still shows a certificate of the old authority",
        )
        self._progress = self._progress.show(known)
        return waiting

    def _ask_each(
        self, is_done: Callable[[Answer], bool], known: Iterable[str], otherwise: str
    ) -> tuple[dict[str, str], list[str]]:
        """The brokers that are not done, and those that are."""
        before, waiting, found = set(known), {}, []
        for name in self._brokers:
            answer = self._answers.get(name, Answer("it has not been asked"))
            if not answer.error and not is_done(answer):
                waiting[name] = otherwise
            elif not answer.error or name in before:
                found.append(name)
            elif self._said(name):
                self.used_words = True
                found.append(name)
            else:
                waiting[name] = f"it cannot be asked: {answer.error}"
        return waiting, found

    def _never_old(self) -> set[str]:
        return set(self._brokers) - self._authority.with_certificates_of_others("brokers")

    def clients(self) -> dict[str, str]:
        """The clients that still depend on the old authority, and why that is believed."""
        now, waiting = self._authority.now(), {}
        for name in sorted(self._authority.with_certificates_of_others("clients")):
            new = self._when(name, by_new=True)
            old = self._when(name, by_new=False)
            since = self._progress.carried.get(name)
            if self._said(name):
                self.used_words, since = True, now
            elif since is None and new is not None:
                since = new.first
            if since is not None and old is not None and old.last > since and new is not None:
                # Another workstation, or a program that still runs with the old profile: see QUIET.
                since = new.last if new.last > old.last and now - old.last >= QUIET else since
            if since is None:
                waiting[name] = "no broker has seen its new certificate"
            elif old is not None and old.last > since:
                waiting[name] = f"its old certificate was used on {old.last:%Y-%m-%d at %H:%M} UTC"
            else:
                self._progress = self._progress.carry({name: since})
                continue
            self._progress = self._progress.forget([name])
        return waiting

    def _when(self, name: str, *, by_new: bool) -> Seen | None:
        """When any broker has seen a client, with a certificate of the new authority or of another."""
        found = [
            clients[name]
            for answer in self._answers.values()
            for issuer, clients in answer.seen.items()
            if (issuer == self._to) is by_new and name in clients
        ]
        return Seen(min(one.first for one in found), max(one.last for one in found)) if found else None

    def _said(self, name: str) -> bool:
        return any(fnmatchcase(name, word) for word in self._words)
