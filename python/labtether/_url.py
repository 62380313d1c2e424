"""Links by URL, for settings kept in files: `lt.link("serial:///dev/ttyUSB0?baudrate=115200")`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from labtether import _core
from labtether._checks import check_name
from labtether._framing import FramingLike
from labtether._line_settings import Rs485
from labtether._link import Link, linked
from labtether._open import serial, tcp
from labtether._options import common_options
from labtether._remote import rfc2217
from labtether._simulated import OWN, Own, models

__all__ = ["link"]


def _simulated(
    instrument: str,
    asked: dict[str, str],
    *,
    framing: FramingLike | Own | None = OWN,
    timeout: float = 5.0,
    name: str | None = None,
    **options: Any,
) -> Link[Any]:
    if framing is OWN:
        # Of one that a test has made in memory, only the test knows.
        framing = models()[instrument].framing() if instrument in models() else "\r\n"
    shown = instrument if name is None else name
    url = f"sim://{quote(instrument, safe='')}"
    if asked:
        url += f"?{urlencode(asked)}"
    lines, common = common_options(framing, timeout, shown, url, options)  # type: ignore[arg-type]
    wire = _core.simulated_link(instrument, asked, common)
    return linked(wire, lines, common, url=url, described=url)


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
    "low_latency": bool,
    "rs485": bool,
}
# Seconds, or "none".
_SILENCE = "silence"
_TCP_SETTINGS: dict[str, Any] = {"connect_timeout": float, "nodelay": bool, "tcp_keepalive": _SILENCE, "tls": bool}
# What only a driver of this machine knows.
_LOCAL = ("exclusive", "low_latency", "rs485")
_SCHEME_SETTINGS: dict[str, dict[str, Any]] = {
    "serial": _SERIAL_SETTINGS,
    "tcp": _TCP_SETTINGS,
    "rfc2217": {name: kind for name, kind in _SERIAL_SETTINGS.items() if name not in _LOCAL}
    | {"connect_timeout": float},
}
_ANY_SETTINGS: dict[str, Any] = {
    "timeout": float,
    "name": str,
    "drain": float,
    "gap": float,
    "char_delay": float,
    "chunk": int,
    "echo": bool,
    "settle": float,
    "turn": float,
    "close_timeout": float,
}


def link(url: str, **options: Any) -> Link[Any]:
    """A closed link to where `url` leads, for settings kept in files.

    `serial:///dev/ttyUSB0?baudrate=115200&parity=E`, `tcp://host:5025`, `rfc2217://host:2217?baudrate=9600`,
    `sim://balance`, `sim://xpeel?pace=0.01`. The query part takes the settings that are numbers, words or true and
    false, and what a simulated instrument can be asked; `options` are those of `serial`, `tcp` and `rfc2217`, and go
    before it.

    Raises ValueError for a URL that says nothing, TypeError for an unknown option.
    """
    check_name(url, "url")
    parts = urlsplit(url)
    settings: dict[str, Any] = {}
    known = _ANY_SETTINGS | _SCHEME_SETTINGS.get(parts.scheme, {})
    instrument = unquote(parts.netloc)
    of_its_own = models()[instrument].options if parts.scheme == "sim" and instrument in models() else {}
    known |= dict.fromkeys(of_its_own, str)
    try:
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"the settings of {url!r} are not of the form name=value") from None
    for name, text in query:
        if name not in known:
            raise ValueError(f"a {parts.scheme}:// url has no setting {name!r}; there are {', '.join(sorted(known))}")
        settings[name] = _setting(known[name], name, text)
    if "rs485" in settings:
        settings["rs485"] = Rs485() if settings["rs485"] else None
    if parts.scheme != "sim":
        settings.update(options)
    match parts.scheme:
        case "serial":
            path = unquote(parts.netloc + parts.path)
            if not path:
                raise ValueError(f"{url!r} names no port: serial:///dev/ttyUSB0")
            return serial(path, **settings)
        case "tcp":
            return tcp(*_server(url, "tcp://host:5025"), **settings)
        case "rfc2217":
            return rfc2217(*_server(url, "rfc2217://host:2217"), **settings)
        case "sim":
            asked = {name: settings.pop(name) for name in of_its_own if name in settings}
            return _simulated(instrument, asked, **(settings | options))
        case "":
            raise ValueError(
                f"{url!r} is not a url: serial:///dev/ttyUSB0, tcp://host:5025, rfc2217://host:2217 or sim://balance"
            )
        case scheme:
            raise ValueError(f"there are no {scheme}:// links; there are serial://, tcp://, rfc2217:// and sim://")


def _server(url: str, form: str) -> tuple[str, int]:
    """The host and the port of `url`, which is to be of that form."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{url!r} has no usable port number: {form}") from None
    if not host or port is None or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is not of the form {form}")
    return host, port


def _setting(kind: Any, name: str, text: str) -> Any:
    if kind is bool:
        if text.lower() not in _FLAGS:
            raise ValueError(f"{name} is true or false, not {text!r}")
        return _FLAGS[text.lower()]
    if kind is _SILENCE:
        if text.lower() == "none":
            return None
        kind = float
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is {'a whole number' if kind is int else 'a number'}, not {text!r}") from None
