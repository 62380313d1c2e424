"""What a line can be given beyond numbers and words: who moves RTS on a shared one, whom an encrypted one trusts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeAlias

from labtether._checks import check_name

__all__ = ["Rs485", "Tls", "check_rs485", "check_tls"]

PemLike: TypeAlias = "str | os.PathLike[str] | bytes"
_Pem: TypeAlias = tuple[str, bytes]


def _check_flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{what} is a bool, not {type(value).__name__}")
    return value


@dataclass(frozen=True, slots=True)
class Rs485:
    """Two wires that all share: the driver moves RTS, which says who talks. For `lt.serial(..., rs485=lt.Rs485())`.

    rts_on_send, rts_after_send: the level of RTS while something is sent, and otherwise. delay_before_send,
    delay_after_send: seconds, in whole milliseconds, between moving RTS and the bits (Linux allows at most 0.1).
    loopback: what is sent is heard too.

    Not needed for an adapter that turns round by itself. Raises TypeError or ValueError for what no driver could do.
    """

    rts_on_send: bool = True
    rts_after_send: bool = False
    delay_before_send: float = 0.0
    delay_after_send: float = 0.0
    loopback: bool = False

    def __post_init__(self) -> None:
        for flag in ("rts_on_send", "rts_after_send", "loopback"):
            _check_flag(getattr(self, flag), flag)
        for delay in ("delay_before_send", "delay_after_send"):
            value = getattr(self, delay)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{delay} is a number of seconds, not {type(value).__name__}")
            if not 0 <= value <= 60:
                raise ValueError(f"{delay} is between 0 and 60 seconds, not {value}")
            if abs(value * 1000 - round(value * 1000)) > 1e-6:
                raise ValueError(f"{delay} is in whole milliseconds, as drivers count: not {value}")


@dataclass(frozen=True, slots=True, repr=False)
class Tls:
    """How a TCP link is encrypted: `lt.tcp(host, port, tls=lt.Tls(ca="lab.pem"))`.

    ca: whose signature is believed: a path, or PEM as bytes; the certificate of an authority, or the instrument's own
    if it signed itself; None: those the system trusts. cert, key: our own certificate, for an instrument that asks who
    we are; key=None: it is in the same file. verify: False takes whoever answers for the instrument, with a warning in
    the log each time. server_name: the name its certificate has, where that is not the host's.

    Files are read when the link is made. Raises TypeError or ValueError for what makes no sense.
    """

    ca: PemLike | None = None
    cert: PemLike | None = None
    key: PemLike | None = None
    verify: bool = True
    server_name: str | None = None

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key"):
            value = getattr(self, name)
            if isinstance(value, str) and "-----BEGIN" in value:
                raise ValueError(f"{name} is a path; PEM itself is given as bytes")
            if not (value is None or isinstance(value, (str, os.PathLike, bytes))):
                raise TypeError(f"{name} is a path, or PEM as bytes, not {type(value).__name__}")
        if not _check_flag(self.verify, "verify") and self.ca is not None:
            raise ValueError("ca= says whom to believe, and verify=False to believe anyone: give one of them")
        if self.key is not None and self.cert is None:
            raise ValueError("key= is of no use without cert=")
        if self.server_name is not None:
            check_name(self.server_name, "server_name")

    def __repr__(self) -> str:
        given = {"ca": self.ca, "cert": self.cert, "key": self.key}
        # A key does not belong into a log.
        shown = [f"{name}={_shown(value)}" for name, value in given.items() if value is not None]
        shown += ["verify=False"] if not self.verify else []
        shown += [f"server_name={self.server_name!r}"] if self.server_name is not None else []
        return f"Tls({', '.join(shown)})"


def _shown(value: PemLike) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else repr(os.fspath(value))


def check_rs485(rs485: Rs485 | None, rtscts: bool) -> tuple[bool, bool, int, int, bool] | None:
    """For Rust: in milliseconds."""
    if rs485 is None:
        return None
    if not isinstance(rs485, Rs485):
        raise TypeError(f"rs485 is Rs485(...) or None, not {type(rs485).__name__}")
    if rtscts:
        raise ValueError("rtscts=True and rs485= both move RTS: give one of them")
    before, after = (round(delay * 1000) for delay in (rs485.delay_before_send, rs485.delay_after_send))
    return rs485.rts_on_send, rs485.rts_after_send, before, after, rs485.loopback


def check_tls(tls: Tls | bool | None, host: str) -> tuple[_Pem | None, _Pem | None, _Pem | None, bool, str] | None:
    """For Rust: with the files' contents."""
    if tls is None or tls is False:
        return None
    if tls is True:
        tls = Tls()
    if not isinstance(tls, Tls):
        raise TypeError(f"tls is True, Tls(...) or None, not {type(tls).__name__}")
    name = host if tls.server_name is None else tls.server_name
    return _read(tls.ca, "ca"), _read(tls.cert, "cert"), _read(tls.key, "key"), tls.verify, name


def _read(pem: PemLike | None, what: str) -> _Pem | None:
    if pem is None:
        return None
    label = f"{what}={_shown(pem)}"
    if isinstance(pem, bytes):
        return label, pem
    try:
        with open(pem, "rb") as file:
            return label, file.read()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{label}: it cannot be read: {why}") from error
