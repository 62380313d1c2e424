"""labtether: every instrument, task and file descriptor is tethered to a scope.

Rust owns the instrument I/O; Python gets awaitables, `async with`, and `setup()` / `stop()` for notebooks:

    import labtether as lt

    async with lt.serial("/dev/ttyUSB0", 9600, framing="\\r\\n") as scale:
        weight = await scale.query("S", timeout=10, parse=lt.number)
"""

from labtether._callback import from_callback
from labtether._channel import Channel, ChannelStatistics, Sender
from labtether._checksums import Checksum, Crc, Sum8, Sum16, Xor8
from labtether._core import __version__
from labtether._errors import (
    ChannelClosed,
    ChannelEmpty,
    ChannelFull,
    CleanupTimeout,
    Deadlock,
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
    Unsupported,
)
from labtether._exchange import Exchange
from labtether._executor import Executor
from labtether._framing import (
    Cobs,
    Enclosed,
    Fixed,
    Framing,
    IeeeBlock,
    LengthPrefixed,
    Lines,
    ModbusRtu,
    Slip,
    UntilQuiet,
)
from labtether._handle import Handle
from labtether._instrument import Instrument
from labtether._lifecycle import lifecycle, setup, stop
from labtether._line_settings import Rs485, Tls
from labtether._link import Link
from labtether._nursery import Nursery, open_nursery
from labtether._open import ports, serial, tcp
from labtether._options import LinkOptions
from labtether._outcome import Cancelled, Failed, Ok, Outcome
from labtether._packets import Packets
from labtether._plot import Plot
from labtether._progress import progress
from labtether._race import gather, outcomes, race
from labtether._recording import Recording
from labtether._remote import rfc2217
from labtether._rules import Abort, Break, ById, Check, KeepAlive, Reconnect
from labtether._strand import situation
from labtether._sync import Event, Lock, Semaphore, Slots, Taking
from labtether._threads import run_sync
from labtether._time import pause, sleep, sleep_until
from labtether._trace import Trace
from labtether._tree import Tree
from labtether._until_done import until_done
from labtether._url import link
from labtether._usb import usb
from labtether._values import ModemLines, PortInfo, Raw, Reading, Resync, TraceEvent, Usb, number, numbers
from labtether._watch import Watch, watch

__all__ = [
    "Abort",
    "Break",
    "ById",
    "Cancelled",
    "Channel",
    "ChannelClosed",
    "ChannelEmpty",
    "ChannelFull",
    "ChannelStatistics",
    "Check",
    "Checksum",
    "CleanupTimeout",
    "Cobs",
    "Crc",
    "Deadlock",
    "Enclosed",
    "Event",
    "Exchange",
    "Executor",
    "Failed",
    "Fixed",
    "ForkedProcess",
    "FrameError",
    "Framing",
    "Handle",
    "IeeeBlock",
    "Instrument",
    "InstrumentBusy",
    "InstrumentError",
    "InternalError",
    "KeepAlive",
    "LengthPrefixed",
    "Lines",
    "Link",
    "LinkBusy",
    "LinkClosed",
    "LinkError",
    "LinkLost",
    "LinkOptions",
    "LinkTimeout",
    "Lock",
    "ModbusRtu",
    "ModemLines",
    "Nursery",
    "Ok",
    "OpenFailed",
    "Outcome",
    "Packets",
    "Plot",
    "PortInfo",
    "Raw",
    "Reading",
    "Reconnect",
    "Recording",
    "Resync",
    "Rs485",
    "ScopeClosed",
    "Semaphore",
    "Sender",
    "Slip",
    "Slots",
    "Sum8",
    "Sum16",
    "Taking",
    "Tls",
    "Trace",
    "TraceEvent",
    "Tree",
    "Unsupported",
    "UntilQuiet",
    "Usb",
    "Watch",
    "Xor8",
    "__version__",
    "from_callback",
    "gather",
    "lifecycle",
    "link",
    "number",
    "numbers",
    "open_nursery",
    "outcomes",
    "pause",
    "ports",
    "progress",
    "race",
    "rfc2217",
    "run_sync",
    "serial",
    "setup",
    "situation",
    "sleep",
    "sleep_until",
    "stop",
    "tcp",
    "until_done",
    "usb",
    "watch",
]
