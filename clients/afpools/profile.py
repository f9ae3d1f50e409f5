"""A client's profile: one folder that says where the brokers are and holds the credentials.

    profile.json         name, role, endpoints in order of preference; the studio's pool for jobs without a chosen one
    ca.pem               the studio's certificate authority
    client.pem           our certificate, and its key
    client.key_secret    our CURVE keys, in zmq.auth's file format; only for programs that have pyzmq

Strategy: a profile is checked when it is loaded, as far as that is possible without the network; an error names the
file and the key. A broken profile is an error and never a reason to look in the next place: an artist must not end up
at another studio's broker, or without one, because a file could not be read.
"""

from __future__ import annotations

import json
import os
import sys

from .errors import NoProfile, ProfileError
from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple, TypeVar

    _T = TypeVar("_T")

_SMALL, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"

# Z85 writes the 32 bytes of a CURVE key in 40 characters (ZeroMQ RFC 32).
_Z85 = _DIGITS + _SMALL + _SMALL.upper() + ".-:+=^!/*?&<>()[]{}@%$#"

_ASK = "Ask whoever runs the broker for a profile (`afpools certs profile`)."


class Endpoint(Record):
    """One way to one broker.

    Args:
        url: `tls://HOST:PORT` or `curve://HOST:PORT`; an IPv6 address is in brackets.
        server_key: the broker's public key in Z85, for CURVE.
        broker: the broker's name. Endpoints of one broker share the time that a call gives to it.
    """

    url: str
    server_key: Optional[str] = None
    broker: Optional[str] = None

    @property
    def scheme(self) -> str:
        """`tls`, `curve`, or another scheme of a later version."""
        return self._parts()[0]

    @property
    def host(self) -> str:
        """A name or an address, without brackets."""
        return self._parts()[1]

    @property
    def port(self) -> int:
        """The broker's port."""
        return self._parts()[2]

    def _parts(self) -> Tuple[str, str, int]:
        # Without a regular expression: compiling one took as long as everything else in a profile.
        scheme, separator, rest = self.url.partition("://")
        host, _, port = (rest[:-1] if rest.endswith("/") else rest).rpartition(":")
        is_bracketed = host[:1] == "[" and host[-1:] == "]"
        if is_bracketed:
            host = host[1:-1]
        if (
            separator
            and scheme[:1] in _SMALL
            and _consists_of(scheme, _SMALL + _DIGITS + "+.-")
            and (_is_address(host) if is_bracketed else _is_name(host))
            and _consists_of(port, _DIGITS)
            and len(port) <= 5
            and 0 < int(port) < 65536
        ):
            return scheme, host, int(port)
        raise ProfileError(
            f"The endpoint {self.url!r} is not of the form tls://HOST:PORT, such as tls://broker.studio.lan:5571 "
            "or tls://[fd00::7]:5571."
        )


def _consists_of(text: str, characters: str) -> bool:
    return bool(text) and not text.strip(characters)


def _is_name(host: str) -> bool:
    return host.split() == [host] and not set(host) & set(":/?#@[]")


def _is_address(host: str) -> bool:
    """Whether it looks like an IPv6 address, with or without a zone."""
    address, percent, zone = host.partition("%")
    is_zone = _consists_of("".join("a" if letter.isalnum() else letter for letter in zone), "a_.-")
    return _consists_of(address, "0123456789abcdefABCDEF:.") and (is_zone or not percent)


class Profile(Record):
    """The contents of a profile folder.

    Args:
        folder: where it is.
        name: whom the credential was made for. Only for people to read: the broker uses the certificate.
        role: `reader` or `manager`; also only for people to read.
        endpoints: in order of preference.
        pool: the studio's default for jobs without a chosen pool; empty for none.
        required: whether jobs without a pool are refused.
    """

    folder: str
    name: str
    role: str
    endpoints: Tuple[Endpoint, ...]
    pool: str = ""
    required: bool = False

    @property
    def ca_file(self) -> str:
        """The studio's certificate authority, PEM."""
        return os.path.join(self.folder, "ca.pem")

    @property
    def client_file(self) -> str:
        """Our certificate and its key, PEM."""
        return os.path.join(self.folder, "client.pem")

    @property
    def curve_file(self) -> str:
        """Our CURVE keys; need not exist."""
        return os.path.join(self.folder, "client.key_secret")

    @classmethod
    def load(cls, folder: str) -> Profile:
        """Reads and checks a profile.

        Args:
            folder: `~` is the user's home.

        Raises:
            ProfileError: something in it is missing or wrong.
        """
        folder = os.path.abspath(os.path.expanduser(folder))
        if not os.path.isdir(folder):
            raise ProfileError(f"The profile {folder} is not a folder{_missing(folder)}. {_ASK}")
        path = os.path.join(folder, "profile.json")
        described = _read_json(path)
        endpoints = _read_endpoints(path, described)
        name, role = _text(path, described, "name"), _text(path, described, "role")
        profile = cls(folder, name, role, endpoints, *_read_default(path, described))
        if any(endpoint.scheme == "tls" for endpoint in endpoints):
            for needed in (profile.ca_file, profile.client_file):
                _check_readable(needed)
        return profile


def find_profile() -> Profile:
    """Loads the profile from the first place that has one: the folder that `$AFPOOLS_PROFILE` names, `afpools` in the
    user's configuration folder, `$CGRU_LOCATION/afpools`.

    Raises:
        NoProfile: no place has one; the message lists the places.
        ProfileError: the first one found cannot be used. A folder that `$AFPOOLS_PROFILE` names must exist; an empty
            variable counts as unset.
    """
    return _found(Profile.load)


def studio_default(folder: str = "") -> Tuple[str, bool]:
    """The studio's default pool, and whether jobs without a pool are refused. Reads only profile.json, so that jobs
    without a pool do not depend on credentials.

    Args:
        folder: the profile's; if empty, it is looked for as in `find_profile`.

    Returns:
        No pool and not required, if there is no profile at all.

    Raises:
        ProfileError: there is one, but its profile.json cannot be read, or a value in it is not valid.
    """

    def read(folder: str) -> Tuple[str, bool]:
        path = os.path.join(os.path.expanduser(folder), "profile.json")
        return _read_default(path, _read_json(path))

    try:
        return read(folder) if folder else _found(read)
    except NoProfile:
        return "", False


def _found(load: Callable[[str], _T]) -> _T:
    """Calls `load` with the first folder that has a profile, and returns the result."""
    named = os.environ.get("AFPOOLS_PROFILE")
    if named:
        try:
            return load(named)
        except ProfileError as error:
            raise ProfileError(f"{error} ($AFPOOLS_PROFILE names this profile.)") from None
    looked = ["$AFPOOLS_PROFILE: not set"]
    places = [user_folder()]
    cgru = os.environ.get("CGRU_LOCATION")
    if cgru:
        places.append(os.path.join(cgru, "afpools"))
    for folder in places:
        path = os.path.join(folder, "profile.json")
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            looked.append(f"{path}: not there")
        except OSError as error:
            raise ProfileError(f"{path} cannot be looked at: {error.strerror}. Check who may read it.") from None
        else:
            return load(folder)
    if not cgru:
        looked.append("$CGRU_LOCATION: not set")
    raise NoProfile("No profile was found. Looked at:" + "".join(f"\n  {place}" for place in looked) + f"\n{_ASK}")


def user_folder() -> str:
    """`afpools` in the user's configuration folder on this system."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("APPDATA") or os.path.join(home, "AppData", "Roaming")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Application Support")
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or ""
        # The XDG specification says to ignore relative paths.
        if not os.path.isabs(base):
            base = os.path.join(home, ".config")
    return os.path.join(base, "afpools")


def _read_json(path: str) -> Dict[str, Any]:
    try:
        # Bytes, because json detects their encoding: editors on Windows often write a byte order mark.
        with open(path, "rb") as file:
            described = json.loads(file.read())
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}. {_ASK}") from None
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{path} is not JSON: {error}. {_ASK}") from None
    if not isinstance(described, dict):
        raise ProfileError(f'{path} is not a JSON object with "name" and "endpoints". {_ASK}')
    return described


def _read_endpoints(path: str, described: Dict[str, Any]) -> Tuple[Endpoint, ...]:
    entries = described.get("endpoints")
    if not isinstance(entries, list) or not entries:
        raise ProfileError(
            f'{path}: "endpoints" must be a list such as [{{"url": "tls://broker.studio.lan:5571"}}], not {entries!r}.'
        )
    endpoints: List[Endpoint] = []
    for number, entry in enumerate(entries, 1):

        def wrong(why: str, number: int = number) -> NoReturn:
            raise ProfileError(f'{path}: "endpoints", entry {number}: {why}')

        if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
            wrong(
                f'it must be an object with a "url", such as {{"url": "tls://broker.studio.lan:5571"}}, not {entry!r}.'
            )
        broker = entry.get("broker")
        if not isinstance(broker, (str, type(None))):
            wrong(f'"broker" must be the broker\'s name, not {broker!r}.')
        endpoint = Endpoint(entry["url"], entry.get("server_key"), broker)
        try:
            scheme = endpoint.scheme
        except ProfileError as error:
            wrong(str(error))
        key = endpoint.server_key
        if scheme == "curve" and not (isinstance(key, str) and len(key) == 40 and _consists_of(key, _Z85)):
            wrong(f'"server_key" must be the broker\'s CURVE key, 40 characters of Z85, not {key!r}.')
        endpoints.append(endpoint)
    return tuple(endpoints)


def _read_default(path: str, described: Dict[str, Any]) -> Tuple[str, bool]:
    """`pool` and `required` of a profile.json."""
    required = described.get("required", False)
    if not isinstance(required, bool):
        raise ProfileError(f'{path}: "required" must be true or false, not {required!r}.')
    return _text(path, described, "pool"), required


def _text(path: str, described: Dict[str, Any], key: str) -> str:
    value = described.get(key, "")
    if not isinstance(value, str):
        raise ProfileError(f'{path}: "{key}" must be a text, not {value!r}.')
    return value


def _check_readable(path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}. {_ASK}") from None


def _missing(path: str) -> str:
    return "" if os.path.lexists(path) else " (it does not exist)"
