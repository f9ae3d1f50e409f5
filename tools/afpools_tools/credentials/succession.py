"""One authority takes over from another, without a day on which nobody can connect.

Strategy: until the new profiles are on the workstations, brokers trust both authorities, and so do the profiles made
meanwhile. Brokers keep using a certificate of the authority that every registered client knows; the new one signs
everything else. A step that was interrupted can be repeated.
"""

from __future__ import annotations

import datetime as dt

from cryptography import x509

from afpools_broker.credentials.authorities import Issuer, common_name, issuer_id, issuer_of

from .authority import Authority
from .certificates import CA_LIFETIME, make_authority
from .files import AuthorityError, files_in, key_to_pem, read, read_certificate, to_pem, write


def new_authority(
    before: Authority, *, name: str | None = None, passphrase: str | None = None, lifetime: dt.timedelta = CA_LIFETIME
) -> Authority:
    """Makes a second authority, which signs from now on. What the first has issued stays valid until it is retired.

    Args:
        before: the current authority.
        name: the studio's; unchanged if not given. Both authorities may have the same name.
        passphrase: for the new private key. The first key keeps its own.
        lifetime: the longest for everything that it will issue, too.

    Raises:
        AuthorityError: there already are two, or the folder cannot be written.
    """
    if len(before.issuers) > 1:
        raise AuthorityError(
            f"{before.folder / 'ca' / 'ca.pem'} holds {len(before.issuers)} authorities already. Finish with the last "
            "change first: `afpools certs retire-ca`."
        )
    ca = before.folder / "ca"
    with before.locked():
        key, certificate = make_authority(name or common_name(before.certificate), lifetime, before.now())
        if before.ca_key_path.exists():
            write(before.former_key_path(before.signer), read(before.ca_key_path), secret=True)
        # The list before the authority and its key last, so that a broker that reads the folder meanwhile, or after an
        # interruption, finds each authority with its list; until the key is there, the previous authority signs.
        issuer = Issuer(certificate, issuer_id(certificate))
        before.crl.put(issuer, {}, key)
        write(ca / "ca.pem", to_pem(certificate) + before.ca_pem())
        write(before.ca_key_path, key_to_pem(key, passphrase), secret=True)
    return Authority.open(before.folder, passphrase=passphrase, clock=before.now)


def still_needed(authority: Authority) -> dict[str, Issuer]:
    """The names of brokers and clients whose certificates are not from the authority that signs."""
    found = {}
    for folder in ("brokers", "clients"):
        for path in files_in(authority.folder / folder, ".pem"):
            certificate: x509.Certificate = read_certificate(path)
            issuer = issuer_of(certificate, authority.issuers)
            if issuer is not None and issuer != authority.signer and certificate.not_valid_after_utc > authority.now():
                found[path.stem] = issuer
    return found


def retire(authority: Authority, *, force: bool = False) -> list[Issuer]:
    """Stops trusting every authority except the one that signs, in ca.pem, crl.pem and the profiles that are here.

    Args:
        authority: the folder's.
        force: do it even if it locks out brokers and clients.

    Returns:
        The authorities that are no longer trusted.

    Raises:
        AuthorityError: somebody still has a certificate from such an authority; or the key of the one that is to stay
            is not here.
    """
    retired = [issuer for issuer in authority.issuers if issuer != authority.signer]
    if not retired:
        raise AuthorityError(f"{authority.folder / 'ca' / 'ca.pem'} holds only one authority, so none can be retired.")
    # Without the key, which of them is to stay would be a guess.
    authority.ca_key()
    names = still_needed(authority)
    if names and not force:
        raise AuthorityError(
            f"These have certificates that {', '.join(issuer.name for issuer in retired)} issued: {', '.join(names)}. "
            "Run `afpools certs renew NAME` for each, and copy what it wrote. --force locks them out."
        )
    with authority.locked():
        pem = to_pem(authority.certificate)
        write(authority.folder / "ca" / "ca.pem", pem)
        authority.crl.keep([authority.signer])
        for profile in sorted((authority.folder / "profiles").glob("*/ca.pem")):
            write(profile, pem)
    return retired
