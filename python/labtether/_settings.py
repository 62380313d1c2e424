"""What links of each kind can be given, for type checkers: the names and types beside those of every link. What they
mean is said by the functions that take them, and what they are unless given."""

from __future__ import annotations

from labtether._line_settings import Rs485, Tls
from labtether._options import LinkOptions

__all__ = ["RemoteOptions", "SerialOptions", "TcpOptions", "UsbOptions"]


class _Named(LinkOptions, total=False):
    timeout: float
    name: str | None


class _LineOptions(_Named, total=False):
    bytesize: int
    parity: str
    stopbits: float
    xonxoff: bool
    rtscts: bool
    dsrdtr: bool
    dtr: bool | None
    rts: bool | None


class SerialOptions(_LineOptions, total=False):
    """Of a serial port of this machine."""

    exclusive: bool
    low_latency: bool
    rs485: Rs485 | None


class RemoteOptions(_LineOptions, total=False):
    """Of a serial port of another machine."""

    connect_timeout: float


class TcpOptions(_Named, total=False):
    """Of a TCP connection."""

    connect_timeout: float
    nodelay: bool
    tcp_keepalive: float | None
    tls: Tls | bool | None


class UsbOptions(_Named, total=False):
    """Of a pair of USB endpoints."""

    read_endpoint: int | None
    write_endpoint: int | None
    transfer_size: int
    zero_packet: bool
