"""When our certificate expires, read with the standard library, whose `ssl` has no public function for it.

Strategy: read only as much DER (ITU-T X.690) as leads to the validity of an X.509 certificate (RFC 5280, 4.1). Whatever
cannot be read gives None: this is only for warnings, and the broker decides.
"""

from __future__ import annotations

import time
from binascii import a2b_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

WARN_DAYS = 30
"""Warnings begin this many days before it expires, as in `health`."""

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"

# From the 0th of March of the year 0.
_DAYS_BEFORE_1970 = 719469

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0


def valid_until(path: str) -> Optional[float]:
    """When the first certificate in a PEM file expires, in seconds since 1970; None if that cannot be read."""
    try:
        with open(path, "rb") as file:
            _, begin, rest = file.read().partition(_BEGIN)
        encoded, end, _ = rest.partition(_END)
        return _not_after(a2b_base64(encoded)) if begin and end else None
    except (OSError, ValueError, IndexError, OverflowError):
        return None


def expired(path: str, now: float) -> str:
    """A clause that says that the certificate in a file has expired and what to do; empty if it has not expired.

    Args:
        path: the file's.
        now: seconds since 1970.
    """
    until = valid_until(path)
    if until is None or now <= until:
        return ""
    return (
        f"our certificate expired on {_day(until)} by this machine's clock; ask whoever runs the broker for a renewed "
        "profile (afpools certs renew)"
    )


def expires_soon(path: str, now: float) -> str:
    """A sentence that warns of a certificate that expires within `WARN_DAYS`, else empty; arguments as for
    `expired`."""
    until = valid_until(path)
    if until is None or not 0 <= until - now < WARN_DAYS * 86400:
        return ""
    days = int((until - now) / 86400)
    left = "in less than a day" if days < 1 else "in 1 day" if days == 1 else f"in {days} days"
    return f"Your certificate expires {left}, on {_day(until)}: ask whoever runs the broker for a renewed profile."


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _not_after(der: bytes) -> float:
    """
    Raises:
        ValueError: it is not a certificate.
        IndexError: it ends too early.
    """
    at, _ = _enter(der, 0, _SEQUENCE)  # Certificate
    at, _ = _enter(der, at, _SEQUENCE)  # tbsCertificate
    if der[at] == _VERSION:
        at = _skip(der, at)
    for _field in ("serialNumber", "signature", "issuer"):
        at = _skip(der, at)
    at, _ = _enter(der, at, _SEQUENCE)  # validity
    at = _skip(der, at)  # notBefore
    tag = der[at]
    start, end = _enter(der, at, tag)
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:
        # A year of two digits: 50 to 99 mean 1950 to 1999 (RFC 5280, 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return _seconds(text)


def _seconds(text: str) -> float:
    """A GeneralizedTime as certificates write it (RFC 5280, 4.1.2.5.2), in seconds since 1970. (calendar, datetime and
    strptime take 3 ms to import, and compiling a regular expression takes longer than all of this.)

    Raises:
        ValueError: it is not one.
    """
    if len(text) != 15 or text[-1] != "Z" or not (text[:-1].isascii() and text[:-1].isdigit()):
        raise ValueError("no time")
    year, month, day, hour, minute, second = int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 23 and minute <= 59 and second <= 60):
        raise ValueError("no time")
    # Count years from March: the leap day then comes last, and every five months have 153 days.
    years, months = year - (month <= 2), (month + 9) % 12
    days = 365 * years + years // 4 - years // 100 + years // 400 + (153 * months + 2) // 5 + day
    return float((days - _DAYS_BEFORE_1970) * 86400 + hour * 3600 + minute * 60 + second)


def _enter(der: bytes, at: int, tag: int) -> Tuple[int, int]:
    """Where the contents of the element at `at` begin and end."""
    if der[at] != tag:
        raise ValueError("another element")
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    if start + length > len(der):
        raise IndexError("it ends too early")
    return start, start + length


def _skip(der: bytes, at: int) -> int:
    """Where the element after the one at `at` begins."""
    return _enter(der, at, der[at])[1]
