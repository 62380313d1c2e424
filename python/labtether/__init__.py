"""labtether: every instrument, task and file descriptor is tethered to a scope.

Rust owns the instrument I/O; Python gets awaitables, `async with`, and `setup()` / `stop()` for notebooks:

    import labtether as lt

    async with lt.serial("/dev/ttyUSB0", 9600, framing="\\r\\n") as scale:
        weight = await scale.query("S", timeout=10, parse=lt.number)
"""

from labtether._core import __version__
from labtether._errors import (
    CleanupTimeout,
    ForkedProcess,
    FrameError,
    InstrumentBusy,
    InstrumentError,
    InternalError,
    LinkBusy,
    LinkClosed,
    LinkError,
    LinkLost,
    LinkTimeout,
    OpenFailed,
    ScopeClosed,
)
from labtether._exchange import Exchange
from labtether._framing import Lines
from labtether._link import Link
from labtether._open import LinkOptions, link, ports, serial, tcp
from labtether._values import Event, PortInfo, Raw, Reading, Resync, Usb, number, numbers

__all__ = [
    "CleanupTimeout",
    "Event",
    "Exchange",
    "ForkedProcess",
    "FrameError",
    "InstrumentBusy",
    "InstrumentError",
    "InternalError",
    "Lines",
    "Link",
    "LinkBusy",
    "LinkClosed",
    "LinkError",
    "LinkLost",
    "LinkOptions",
    "LinkTimeout",
    "OpenFailed",
    "PortInfo",
    "Raw",
    "Reading",
    "Resync",
    "ScopeClosed",
    "Usb",
    "__version__",
    "link",
    "number",
    "numbers",
    "ports",
    "serial",
    "tcp",
]
