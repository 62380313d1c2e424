"""Making links to what is not a port of this machine's system. Arguments are checked here; nothing is opened."""

from __future__ import annotations

from typing import Any, Unpack, overload
from urllib.parse import urlencode

from labtether import _core
from labtether._checks import check_name, check_port, check_seconds, check_settings
from labtether._framing import Framed, Framing, FramingLike, Lines
from labtether._link import Link, linked
from labtether._open import _unusual
from labtether._options import DEFAULT_FRAMING, LinkOptions, common_options
from labtether._settings import RemoteOptions

__all__ = ["rfc2217"]


@overload
def rfc2217(
    host: str,
    port: int,
    baudrate: int = 9600,
    *,
    framing: Lines | str = ...,
    **options: Unpack[RemoteOptions],
) -> Link[str]: ...
@overload
def rfc2217(
    host: str,
    port: int,
    baudrate: int = 9600,
    *,
    framing: bytes | None,
    **options: Unpack[RemoteOptions],
) -> Link[bytes]: ...
@overload
def rfc2217(
    host: str,
    port: int,
    baudrate: int = 9600,
    *,
    framing: Framed | Framing,
    **options: Unpack[RemoteOptions],
) -> Link[Any]: ...
def rfc2217(
    host: str,
    port: int,
    baudrate: int = 9600,
    *,
    bytesize: int = 8,
    parity: str = "N",
    stopbits: float = 1,
    xonxoff: bool = False,
    rtscts: bool = False,
    dsrdtr: bool = False,
    dtr: bool | None = None,
    rts: bool | None = None,
    framing: FramingLike | None = DEFAULT_FRAMING,
    timeout: float = 5.0,
    connect_timeout: float = 10.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[Any]:
    """A closed link to a serial port on another machine, behind a server of RFC 2217: ser2net, a Moxa or a Lantronix
    box, pyserial's. Nothing is touched before it is entered or set up.

    The settings are those of `serial`. Opening it sets them all, and the server confirms each: one that it refuses is
    OpenFailed, kind "unsupported", with what was asked for and what the server has. At most one of xonxoff, rtscts and
    dsrdtr: the protocol has one flow control at a time. dtr, rts: the lines' levels; None: left as they are; give them
    only if the port has such lines, as not every server answers where there are none. connect_timeout: seconds until
    the port is set up. A server that does not speak RFC 2217 is OpenFailed, kind "refused".

    Everything that a serial link can do to its line is done by the server: `set_lines`, `send_break`, `configure` and
    `discard_input` wait for its answer or are ordered before what is written next. `lines()` says what the server told
    last, None for a line it has not spoken of. `drain()` waits until the bytes are on their way to the server: how far
    it has come with them, it does not say.

    Raises TypeError or ValueError for bad arguments.
    """
    check_name(host, "host")
    check_port(port)
    flags: dict[str, Any] = {"xonxoff": xonxoff, "rtscts": rtscts, "dsrdtr": dsrdtr, "dtr": dtr, "rts": rts}
    check_settings(baudrate=baudrate, bytesize=bytesize, parity=parity, stopbits=stopbits, **flags)
    if xonxoff + rtscts + dsrdtr > 1:
        raise ValueError("at most one of xonxoff, rtscts and dsrdtr: RFC 2217 has one flow control at a time")
    patience = check_seconds(connect_timeout, "connect_timeout")
    if patience is None:
        raise TypeError("connect_timeout is a number of seconds, not None")
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines, common = common_options(framing, timeout, shown if name is None else name, shown, options)
    wire = _core.rfc2217_link(
        host,
        port,
        patience,
        baudrate,
        bytesize,
        parity,
        float(stopbits),
        xonxoff,
        rtscts,
        dsrdtr,
        dtr,
        rts,
        common,
    )
    settings = {"baudrate": baudrate, "bytesize": bytesize, "parity": parity, "stopbits": f"{stopbits:g}", **flags}
    url = f"rfc2217://{shown}?{urlencode(_unusual(settings))}"
    described = f"rfc2217://{shown} {baudrate} {bytesize}{parity}{stopbits:g}"
    return linked(wire, lines, common, url=url, described=described)
