"""Making links: serial ports, TCP servers, URLs. Arguments are checked here; nothing is opened."""

from __future__ import annotations

import os
from typing import Any, TypedDict, Unpack, overload
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from labtether import _core
from labtether._checks import check_count, check_name, check_seconds, reject_unknown
from labtether._framing import FramingLike, Lines, as_framing, as_pattern, encoder_of
from labtether._link import Link
from labtether._values import PortInfo, Raw, Resync, Usb

__all__ = ["LinkOptions", "link", "ports", "serial", "tcp"]


class LinkOptions(TypedDict, total=False):
    """What every link can be given besides.

    drain: seconds past its deadline for which an owed reply is still waited for (1.0). settle: seconds of quiet after
    something unexpected (0.02). turn: seconds to wait for one's turn (30.0). resync: how to get back in step at once
    (None). trace: events kept (200). close_timeout: seconds for pending output to leave when the link closes (2.0).
    park: last words that Rust itself writes when no Python can: at exit, or when the link was forgotten (None).
    """

    drain: float
    settle: float
    turn: float
    resync: Resync | None
    trace: int
    close_timeout: float
    park: str | bytes | Raw | None


_DEFAULT = Lines()
_DEFAULTS: LinkOptions = {
    "drain": 1.0,
    "settle": 0.02,
    "turn": 30.0,
    "resync": None,
    "trace": 200,
    "close_timeout": 2.0,
    "park": None,
}
_PARITIES = ("N", "E", "O", "M", "S")


@overload
def serial(
    port: str | os.PathLike[str] | PortInfo | Usb,
    baudrate: int = 9600,
    *,
    bytesize: int = 8,
    parity: str = "N",
    stopbits: float = 1,
    xonxoff: bool = False,
    rtscts: bool = False,
    dsrdtr: bool = False,
    exclusive: bool = True,
    dtr: bool | None = None,
    rts: bool | None = None,
    framing: Lines | str = ...,
    timeout: float = 5.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[str]: ...
@overload
def serial(
    port: str | os.PathLike[str] | PortInfo | Usb,
    baudrate: int = 9600,
    *,
    bytesize: int = 8,
    parity: str = "N",
    stopbits: float = 1,
    xonxoff: bool = False,
    rtscts: bool = False,
    dsrdtr: bool = False,
    exclusive: bool = True,
    dtr: bool | None = None,
    rts: bool | None = None,
    framing: bytes | None,
    timeout: float = 5.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[bytes]: ...
def serial(
    port: str | os.PathLike[str] | PortInfo | Usb,
    baudrate: int = 9600,
    *,
    bytesize: int = 8,
    parity: str = "N",
    stopbits: float = 1,
    xonxoff: bool = False,
    rtscts: bool = False,
    dsrdtr: bool = False,
    exclusive: bool = True,
    dtr: bool | None = None,
    rts: bool | None = None,
    framing: FramingLike | None = _DEFAULT,
    timeout: float = 5.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[Any]:
    """A closed link to a serial port; nothing is touched before it is entered or set up.

    port: a path, a PortInfo, or `lt.Usb(...)`, which is looked for at every open. The settings have pyserial's names
    and meanings. exclusive: no other program may open it meanwhile. dtr, rts: the lines' levels; None: left as they
    are. framing: how messages end: `lt.Lines(...)`, or the terminator alone; None: raw bytes. timeout: seconds for an
    exchange, from its first byte. name: for errors and logs; None: the port's.

    Raises TypeError or ValueError for bad arguments. On a pseudo-terminal, which has no parity and no 7-bit mode,
    those are left out, with a warning in the log when it is opened.
    """
    device = port.device if isinstance(port, PortInfo) else port
    path: str | None = None
    usb = None
    if isinstance(device, Usb):
        usb = (device.vid, device.pid, device.serial_number, device.interface)
        shown = short = str(device)
    else:
        if not isinstance(device, (str, os.PathLike)):
            raise TypeError(f"port is a path, a PortInfo or Usb(...), not {type(device).__name__}")
        path = check_name(os.fspath(device), "port")
        # A pseudo-terminal is only a number without its folder.
        short = path.removeprefix("/dev/") if path.startswith("/dev/pts/") else os.path.basename(path.rstrip("/"))
        shown, short = path, short or path
    if check_count(bytesize, "bytesize", least=5) > 8:
        raise ValueError(f"bytesize is 5, 6, 7 or 8, not {bytesize}")
    if not isinstance(parity, str):
        raise TypeError(f"parity is a str, not {type(parity).__name__}")
    if parity not in _PARITIES:
        raise ValueError(f"parity is one of {', '.join(_PARITIES)}, not {parity!r}")
    if isinstance(stopbits, bool) or not isinstance(stopbits, (int, float)):
        raise TypeError(f"stopbits is a number, not {type(stopbits).__name__}")
    if stopbits not in (1, 1.5, 2):
        raise ValueError(f"stopbits is 1, 1.5 or 2, not {stopbits}")
    rate = check_count(baudrate, "baudrate")
    if rate > 0xFFFF_FFFF:
        raise ValueError(f"baudrate is at most {0xFFFF_FFFF}, not {rate}")
    flags: dict[str, Any] = {
        "xonxoff": xonxoff,
        "rtscts": rtscts,
        "dsrdtr": dsrdtr,
        "exclusive": exclusive,
        "dtr": dtr,
        "rts": rts,
    }
    for flag, value in flags.items():
        if not (isinstance(value, bool) or (value is None and flag in ("dtr", "rts"))):
            raise TypeError(f"{flag} is a bool, not {type(value).__name__}")
    lines, common = _common(framing, timeout, short if name is None else name, shown, options)
    wire = _core.serial_link(
        path, usb, rate, bytesize, parity, float(stopbits), xonxoff, rtscts, dsrdtr, exclusive, dtr, rts, common
    )
    described = f"{shown} {rate} {bytesize}{parity}{stopbits:g}"
    settings = {"baudrate": rate, "bytesize": bytesize, "parity": parity, "stopbits": f"{stopbits:g}", **flags}
    url = f"serial://{quote(shown)}?{urlencode(_unusual(settings))}"
    return Link(wire, name=common["name"], url=url, described=described, timeout=common["timeout"], framing=lines)


@overload
def tcp(
    host: str,
    port: int,
    *,
    framing: Lines | str = ...,
    timeout: float = 5.0,
    connect_timeout: float = 10.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[str]: ...
@overload
def tcp(
    host: str,
    port: int,
    *,
    framing: bytes | None,
    timeout: float = 5.0,
    connect_timeout: float = 10.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[bytes]: ...
def tcp(
    host: str,
    port: int,
    *,
    framing: FramingLike | None = _DEFAULT,
    timeout: float = 5.0,
    connect_timeout: float = 10.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[Any]:
    """A closed link to an instrument that listens on TCP; nothing is touched before it is entered or set up.

    connect_timeout: seconds until the connection stands. The rest as for `serial`. Raises TypeError or ValueError for
    bad arguments.
    """
    check_name(host, "host")
    if check_count(port, "port") > 65535:
        raise ValueError(f"port is at most 65535, not {port}")
    patience = check_seconds(connect_timeout, "connect_timeout")
    if patience is None:
        raise TypeError("connect_timeout is a number of seconds, not None")
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines, common = _common(framing, timeout, shown if name is None else name, shown, options)
    wire = _core.tcp_link(host, port, patience, common)
    url = f"tcp://{shown}"
    return Link(wire, name=common["name"], url=url, described=url, timeout=common["timeout"], framing=lines)


def _unusual(settings: dict[str, Any]) -> dict[str, Any]:
    """The baud rate, and whatever is not as it is by default; as a url says it."""
    usual = {"bytesize": 8, "parity": "N", "stopbits": "1", "exclusive": True, "dtr": None, "rts": None}
    changed = {name: value for name, value in settings.items() if value != usual.get(name, False)}
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in changed.items()}


def _simulated(
    instrument: str,
    *,
    framing: FramingLike | None = "\r\n",
    timeout: float = 5.0,
    name: str | None = None,
    **options: Any,
) -> Link[Any]:
    lines, common = _common(framing, timeout, instrument if name is None else name, f"sim://{instrument}", options)  # type: ignore[arg-type]
    wire = _core.simulated_link(instrument, common)
    url = f"sim://{instrument}"
    return Link(wire, name=common["name"], url=url, described=url, timeout=common["timeout"], framing=lines)


def _common(
    framing: FramingLike | None, timeout: float, name: str, port: str, options: LinkOptions
) -> tuple[Lines | None, dict[str, Any]]:
    """The options that every kind of link has, checked, for Rust."""
    reject_unknown(options, _DEFAULTS, "a link")
    given: dict[str, Any] = {**_DEFAULTS, **options}
    lines = as_framing(framing)
    encoder = encoder_of(lines)
    if timeout is None:
        raise TypeError("timeout is a number of seconds (math.inf for no limit), not None")
    common: dict[str, Any] = {
        "name": check_name(name, "name"),
        "port": port,
        "framing": None if lines is None else lines.core,
        "text": lines is not None and lines.encoding is not None,
        "timeout": check_seconds(timeout, "timeout"),
        "trace": check_count(given["trace"], "trace", least=0),
        "turn": _required(given, "turn"),
        "park": None,
        "resync": None,
    }
    for option in ("drain", "settle", "close_timeout"):
        common[option] = _required(given, option, finite=True)
    park, resync = given["park"], given["resync"]
    if park is not None:
        common["park"] = (park.data, True) if isinstance(park, Raw) else (encoder.encode(park, "park"), False)
    if resync is not None:
        if not isinstance(resync, Resync):
            raise TypeError(f"resync is Resync(command, answer), not {type(resync).__name__}")
        if lines is None:
            raise ValueError("resync needs a framing")
        pattern, function = as_pattern(resync.answer, "the answer of resync", encoder.encoding)
        if pattern is None or function is not None:
            raise TypeError("the answer of resync is a pattern")
        if isinstance(resync.command, Raw):
            raise TypeError("the command of resync is framed: give str or bytes")
        common["resync"] = (encoder.encode(resync.command, "the command of resync"), pattern)
    return lines, common


def _required(given: dict[str, Any], option: str, *, finite: bool = False) -> float:
    value = check_seconds(given[option], option, finite=finite)
    if value is None:
        raise TypeError(f"{option} is a number of seconds, not None")
    return value


_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_SERIAL_SETTINGS: dict[str, Any] = {
    "baudrate": int,
    "bytesize": int,
    "parity": str,
    "stopbits": float,
    "xonxoff": bool,
    "rtscts": bool,
    "dsrdtr": bool,
    "exclusive": bool,
    "dtr": bool,
    "rts": bool,
}
_ANY_SETTINGS: dict[str, Any] = {
    "timeout": float,
    "name": str,
    "drain": float,
    "settle": float,
    "turn": float,
    "close_timeout": float,
}


def link(url: str, **options: Any) -> Link[Any]:
    """A closed link to where `url` leads, for settings kept in files.

    `serial:///dev/ttyUSB0?baudrate=115200&parity=E`, `tcp://host:5025`, `sim://balance`. The query part takes the
    settings that are numbers, words or true and false; `options` are those of `serial` and `tcp`, and go before it.

    Raises ValueError for a URL that says nothing, TypeError for an unknown option.
    """
    check_name(url, "url")
    parts = urlsplit(url)
    settings: dict[str, Any] = {}
    known = _ANY_SETTINGS | {"serial": _SERIAL_SETTINGS, "tcp": {"connect_timeout": float}}.get(parts.scheme, {})
    try:
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"the settings of {url!r} are not of the form name=value") from None
    for name, text in query:
        if name not in known:
            raise ValueError(f"a {parts.scheme}:// url has no setting {name!r}; there are {', '.join(sorted(known))}")
        settings[name] = _setting(known[name], name, text)
    settings.update(options)
    match parts.scheme:
        case "serial":
            path = unquote(parts.netloc + parts.path)
            if not path:
                raise ValueError(f"{url!r} names no port: serial:///dev/ttyUSB0")
            return serial(path, **settings)
        case "tcp":
            try:
                host, port = parts.hostname, parts.port
            except ValueError:
                raise ValueError(f"{url!r} has no usable port number: tcp://host:5025") from None
            if not host or port is None or parts.path not in ("", "/"):
                raise ValueError(f"{url!r} is not of the form tcp://host:5025")
            return tcp(host, port, **settings)
        case "sim":
            return _simulated(parts.netloc, **settings)
        case "":
            raise ValueError(f"{url!r} is not a url: serial:///dev/ttyUSB0, tcp://host:5025 or sim://balance")
        case scheme:
            raise ValueError(f"there are no {scheme}:// links; there are serial://, tcp:// and sim://")


def _setting(kind: Any, name: str, text: str) -> Any:
    if kind is bool:
        if text.lower() not in _FLAGS:
            raise ValueError(f"{name} is true or false, not {text!r}")
        return _FLAGS[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is {'a whole number' if kind is int else 'a number'}, not {text!r}") from None


def ports(vid: int | None = None, pid: int | None = None, serial_number: str | None = None) -> list[PortInfo]:
    """The serial ports of this machine, by device name; with arguments, the USB adapters that match them all."""
    found = [PortInfo(*row) for row in _core.list_ports()]
    wanted = {"vid": vid, "pid": pid, "serial_number": serial_number}
    if all(value is None for value in wanted.values()):
        return found
    Usb(vid, pid, serial_number)
    return [
        port for port in found if all(value is None or getattr(port, key) == value for key, value in wanted.items())
    ]
