"""Making links to serial ports and TCP servers. Arguments are checked here; nothing is opened."""

from __future__ import annotations

import os
from typing import Any, Unpack, overload
from urllib.parse import quote, urlencode

from labtether import _core
from labtether._checks import check_name, check_port, check_seconds, check_settings
from labtether._framing import Framed, Framing, FramingLike, Lines
from labtether._line_settings import Rs485, Tls, check_rs485, check_tls
from labtether._link import Link, linked
from labtether._options import DEFAULT_FRAMING, LinkOptions, common_options
from labtether._settings import SerialOptions, TcpOptions
from labtether._values import PortInfo, Usb

__all__ = ["ports", "serial", "tcp"]

# Linux takes no more (MAX_TCP_KEEPIDLE).
_LONGEST_SILENCE = 32767


@overload
def serial(
    port: str | os.PathLike[str] | PortInfo | Usb,
    baudrate: int = 9600,
    *,
    framing: Lines | str = ...,
    **options: Unpack[SerialOptions],
) -> Link[str]: ...
@overload
def serial(
    port: str | os.PathLike[str] | PortInfo | Usb,
    baudrate: int = 9600,
    *,
    framing: bytes | None,
    **options: Unpack[SerialOptions],
) -> Link[bytes]: ...
@overload
def serial(
    port: str | os.PathLike[str] | PortInfo | Usb,
    baudrate: int = 9600,
    *,
    framing: Framed | Framing,
    **options: Unpack[SerialOptions],
) -> Link[Any]: ...
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
    low_latency: bool = False,
    rs485: Rs485 | None = None,
    framing: FramingLike | None = DEFAULT_FRAMING,
    timeout: float = 5.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[Any]:
    """A closed link to a serial port; nothing is touched before it is entered or set up.

    port: a path, a PortInfo, or `lt.Usb(...)`, which is looked for at every open. The settings have pyserial's names
    and meanings. exclusive: no other program may open it meanwhile. dtr, rts: the lines' levels; None: left as they
    are. low_latency: the driver hands over what has come at once (an FTDI adapter keeps it for up to 16 ms); False:
    left as it is. rs485: the driver moves RTS on wires that are shared; None: left as it is. framing: how messages end:
    `lt.Lines(...)`, or the terminator alone; None: raw bytes. timeout: seconds for an exchange, from its first byte.
    name: for errors and logs; None: the port's.

    Raises TypeError or ValueError for bad arguments. On a pseudo-terminal, which has no parity, no 7-bit mode and
    nothing to be hurried, those are left out, with a warning in the log when it is opened; rs485 never is.
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
    flags: dict[str, Any] = {
        "xonxoff": xonxoff,
        "rtscts": rtscts,
        "dsrdtr": dsrdtr,
        "exclusive": exclusive,
        "dtr": dtr,
        "rts": rts,
        "low_latency": low_latency,
    }
    check_settings(baudrate=baudrate, bytesize=bytesize, parity=parity, stopbits=stopbits, **flags)
    shared = check_rs485(rs485, rtscts)
    lines, common = common_options(framing, timeout, short if name is None else name, shown, options)
    wire = _core.serial_link(
        path,
        usb,
        baudrate,
        bytesize,
        parity,
        float(stopbits),
        xonxoff,
        rtscts,
        dsrdtr,
        exclusive,
        dtr,
        rts,
        low_latency,
        shared,
        common,
    )
    described = f"{shown} {baudrate} {bytesize}{parity}{stopbits:g}"
    settings = {"baudrate": baudrate, "bytesize": bytesize, "parity": parity, "stopbits": f"{stopbits:g}", **flags}
    settings["rs485"] = rs485 is not None
    url = f"serial://{quote(shown)}?{urlencode(_unusual(settings))}"
    return linked(wire, lines, common, url=url, described=described)


@overload
def tcp(
    host: str,
    port: int,
    *,
    framing: Lines | str = ...,
    **options: Unpack[TcpOptions],
) -> Link[str]: ...
@overload
def tcp(
    host: str,
    port: int,
    *,
    framing: bytes | None,
    **options: Unpack[TcpOptions],
) -> Link[bytes]: ...
@overload
def tcp(
    host: str,
    port: int,
    *,
    framing: Framed | Framing,
    **options: Unpack[TcpOptions],
) -> Link[Any]: ...
def tcp(
    host: str,
    port: int,
    *,
    framing: FramingLike | None = DEFAULT_FRAMING,
    timeout: float = 5.0,
    connect_timeout: float = 10.0,
    nodelay: bool = True,
    tcp_keepalive: float | None = 30.0,
    tls: Tls | bool | None = None,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[Any]:
    """A closed link to an instrument that listens on TCP; nothing is touched before it is entered or set up.

    connect_timeout: seconds until the connection stands, TLS included. nodelay: small pieces are sent at once.
    tcp_keepalive: seconds of silence after which the system asks whether the other side is still there (it gives up
    about a minute and a half later); None: never. tls: encrypted: True, or `lt.Tls(...)`. The rest as for `serial`.

    Raises TypeError or ValueError for bad arguments, a file of certificates that cannot be read among them.
    """
    check_name(host, "host")
    check_port(port)
    patience = check_seconds(connect_timeout, "connect_timeout")
    if patience is None:
        raise TypeError("connect_timeout is a number of seconds, not None")
    if not isinstance(nodelay, bool):
        raise TypeError(f"nodelay is a bool, not {type(nodelay).__name__}")
    silence = check_seconds(tcp_keepalive, "tcp_keepalive", finite=True)
    if silence is not None and not 1 <= silence <= _LONGEST_SILENCE:
        raise ValueError(f"tcp_keepalive is between 1 and {_LONGEST_SILENCE} seconds, or None: not {silence:g}")
    secrecy = check_tls(tls, host)
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines, common = common_options(framing, timeout, shown if name is None else name, shown, options)
    wire = _core.tcp_link(host, port, patience, nodelay, silence, secrecy, common)
    settings = {"nodelay": nodelay, "tcp_keepalive": "none" if silence is None else f"{silence:g}"}
    query = urlencode(_unusual({**settings, "tls": secrecy is not None}))
    url = f"tcp://{shown}?{query}" if query else f"tcp://{shown}"
    return linked(wire, lines, common, url=url, described=f"tcp://{shown}" if secrecy is None else f"tcp://{shown} TLS")


def _unusual(settings: dict[str, Any]) -> dict[str, Any]:
    """Of the settings what is not as it is by default (no baud rate is); as a url says it."""
    usual: dict[str, Any] = {"bytesize": 8, "parity": "N", "stopbits": "1", "exclusive": True, "dtr": None, "rts": None}
    usual |= {"nodelay": True, "tcp_keepalive": "30"}
    changed = {name: value for name, value in settings.items() if value != usual.get(name, False)}
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in changed.items()}


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
