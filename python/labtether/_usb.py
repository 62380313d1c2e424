"""Making links to USB devices. Arguments are checked here; nothing is opened."""

from __future__ import annotations

from typing import Any, Unpack, overload

from labtether import _core
from labtether._checks import check_count
from labtether._framing import Framed, Framing, FramingLike, Lines, as_framing
from labtether._link import Link, linked
from labtether._options import LinkOptions, common_options
from labtether._packets import Packets
from labtether._settings import UsbOptions
from labtether._values import Usb

__all__ = ["usb"]

_PACKETS = Packets()
_LARGEST = 1 << 24
"""The system gives all transfers together 16 MB (Linux: usbcore.usbfs_memory_mb)."""


@overload
def usb(
    vid: int,
    pid: int,
    serial_number: str | None = None,
    interface: int = 0,
    *,
    framing: bytes | None = ...,
    **options: Unpack[UsbOptions],
) -> Link[bytes]: ...
@overload
def usb(
    vid: int,
    pid: int,
    serial_number: str | None = None,
    interface: int = 0,
    *,
    framing: Lines | str,
    **options: Unpack[UsbOptions],
) -> Link[str]: ...
@overload
def usb(
    vid: int,
    pid: int,
    serial_number: str | None = None,
    interface: int = 0,
    *,
    framing: Framed | Framing,
    **options: Unpack[UsbOptions],
) -> Link[Any]: ...
def usb(
    vid: int,
    pid: int,
    serial_number: str | None = None,
    interface: int = 0,
    *,
    framing: FramingLike | None = _PACKETS,
    read_endpoint: int | None = None,
    write_endpoint: int | None = None,
    transfer_size: int = 16384,
    zero_packet: bool = False,
    timeout: float = 5.0,
    name: str | None = None,
    **options: Unpack[LinkOptions],
) -> Link[Any]:
    """A closed link to two bulk endpoints of a USB device; nothing is touched before it is entered or set up.

    The device is looked for at every open; serial_number: needed if several are plugged in. interface: claimed for as
    long as the link is open; a driver of the system that has it gets it back. read_endpoint, write_endpoint: their
    addresses, such as 0x82 and 0x01; None: the first bulk endpoint of the interface in that direction. (For USB serial
    adapters, and what looks like one, use `serial`.)

    framing: with `lt.Packets()`, the default, one transfer is one message. A transfer that comes in ends at a packet
    that is not full, or with `transfer_size` bytes (rounded up to full packets): for a device that never ends a message
    with a short packet, give it the size of one packet. zero_packet: end a message that fills its last packet with a
    packet of no bytes, for devices that wait for that. With any other framing, or None, what comes is one stream of
    bytes.

    A device that refuses something (its endpoint stalls) is a FrameError where packets are messages, and LinkLost
    otherwise; unplugged, it is LinkLost. A message that is cut for an urgent one may leave a part with the device.
    Opening raises OpenFailed: "missing" with the devices there are, "ambiguous", "permission" with the udev rule to
    add, "in_use", "unsupported" with the interfaces or endpoints there are.

    This has been tested on a simulated bus only, never yet on hardware. The first device that is opened starts one
    thread of the library underneath, nusb, "nusb-events", which stays until the process ends.

    Raises TypeError or ValueError for bad arguments.
    """
    for what, value in (("vid", vid), ("pid", pid), ("interface", interface)):
        if value is None:
            raise TypeError(f"{what} is an int, not NoneType")
    if serial_number is not None and not isinstance(serial_number, str):
        raise TypeError(f"serial_number is a str or None, not {type(serial_number).__name__}")
    device = Usb(vid, pid, serial_number, interface)
    endpoints = _endpoint(read_endpoint, "read_endpoint", 0x80), _endpoint(write_endpoint, "write_endpoint", 0x00)
    if check_count(transfer_size, "transfer_size") > _LARGEST:
        raise ValueError(f"transfer_size is at most {_LARGEST}, not {transfer_size}")
    if not isinstance(zero_packet, bool):
        raise TypeError(f"zero_packet is a bool, not {type(zero_packet).__name__}")
    if isinstance(as_framing(framing), Packets):
        if options.get("char_delay"):
            raise ValueError("char_delay would cut messages apart: a packet is sent whole")
        if options.get("echo") is True:
            raise ValueError('packets are not echoed byte by byte; echo="line": as a message')
    shown = str(device)
    lines, common = common_options(framing, timeout, shown if name is None else name, shown, options)
    wire = _core.usb_link((vid, pid, serial_number, interface), endpoints, transfer_size, zero_packet, common)
    return linked(wire, lines, common, url=shown, described=f"{shown} interface {interface}")


def _endpoint(address: int | None, what: str, direction: int) -> int | None:
    """An address of an endpoint; its highest bit is its direction."""
    if address is None:
        return None
    if not 1 <= check_count(address, what, least=0) & 0x7F <= 15 or address & ~0x0F != direction:
        raise ValueError(f"{what} is between {direction | 1:#04x} and {direction | 15:#04x}, not {address:#04x}")
    return address
