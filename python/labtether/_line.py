"""A link below messages: raw bytes, break, modem lines, settings."""

from __future__ import annotations

from typing import Any, TypeVar

from labtether._checks import check_break, check_count, check_seconds, check_settings
from labtether._face import Face
from labtether._values import ModemLines

__all__ = ["Line", "end_bytes"]

M = TypeVar("M", str, bytes)


class Line(Face[M]):
    """The part of a link that knows of no messages."""

    __slots__ = ()

    async def read(self, n: int, *, timeout: float | None = None) -> bytes:
        """Exactly `n` raw bytes. Raises LinkTimeout if they did not all come: those that did stay for the next read;
        LinkLost, LinkClosed."""
        self._only_raw("read")
        self._not_in_own_exchange()
        data: bytes = await self._wire.read(check_count(n, "n"), check_seconds(timeout, "timeout"), None, None)
        return data

    async def read_until(self, end: str | bytes, *, timeout: float | None = None) -> bytes:
        """Raw bytes up to and including `end`. A timeout or a cancellation keeps what came for the next read."""
        self._only_raw("read_until")
        self._not_in_own_exchange()
        data: bytes = await self._wire.read_until(end_bytes(end), check_seconds(timeout, "timeout"), None, None)
        return data

    async def read_some(self, max_bytes: int = 65536, *, timeout: float | None = None) -> bytes:
        """What there is, at least one byte, at most `max_bytes`. A cancellation loses nothing."""
        self._only_raw("read_some")
        self._not_in_own_exchange()
        data: bytes = await self._wire.read_some(
            check_count(max_bytes, "max_bytes"), check_seconds(timeout, "timeout"), None, None
        )
        return data

    async def write(self, data: bytes, *, timeout: float | None = None) -> None:
        """Write raw bytes; returns when the system has taken them all. If cancelled, what has not gone is not sent."""
        self._only_raw("write")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        self._not_in_own_exchange()
        if len(data):
            await self._wire.write(bytes(data), check_seconds(timeout, "timeout"), None)

    async def discard_input(self) -> None:
        """Throw away what has come and was not read: raw bytes and unasked messages, the system's buffer included."""
        self._not_in_own_exchange()
        await self._wire.discard_input()

    async def drain(self, *, timeout: float | None = None) -> None:
        """Wait until all that was written has left the machine. Raises LinkTimeout if the line is held; LinkLost,
        LinkClosed. A cancellation stops the wait, not the bytes."""
        await self._wire.drain(check_seconds(timeout, "timeout"))

    async def send_break(self, seconds: float = 0.25, *, turn: float | None = None) -> None:
        """Hold the line in break for `seconds` (at most 60), after what was written has left. If cancelled, the break
        ends at once. Raises Unsupported where the device has none, LinkBusy, LinkLost, LinkClosed."""
        self._not_in_own_exchange()
        await self._wire.send_break(check_break(seconds), check_seconds(turn, "turn"), None)

    async def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Set the lines that are given, at once, whoever has the turn. Raises Unsupported naming a line that the device
        has not; LinkLost, LinkClosed."""
        for name, level in (("dtr", dtr), ("rts", rts)):
            if not (level is None or isinstance(level, bool)):
                raise TypeError(f"{name} is a bool or None, not {type(level).__name__}")
        if dtr is None and rts is None:
            raise ValueError("set_lines needs dtr or rts")
        await self._wire.set_lines(dtr, rts)

    async def lines(self) -> ModemLines:
        """What the modem lines say now. Raises Unsupported where the device has none; LinkLost, LinkClosed."""
        return ModemLines(*await self._wire.lines())

    async def configure(
        self,
        *,
        baudrate: int | None = None,
        bytesize: int | None = None,
        parity: str | None = None,
        stopbits: float | None = None,
        xonxoff: bool | None = None,
        rtscts: bool | None = None,
        dsrdtr: bool | None = None,
        turn: float | None = None,
    ) -> None:
        """Change the line's settings, after what was written has left; what is not given stays. They hold until the
        link is closed: the next setup has those it was made with.

        Raises ValueError or TypeError for what no line can be, Unsupported naming a setting that this device cannot
        take (then nothing is changed), LinkTimeout if the output does not leave, LinkBusy, LinkLost, LinkClosed.
        """
        given: dict[str, Any] = {
            "baudrate": baudrate,
            "bytesize": bytesize,
            "parity": parity,
            "stopbits": stopbits,
            "xonxoff": xonxoff,
            "rtscts": rtscts,
            "dsrdtr": dsrdtr,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        if not changed:
            raise ValueError(f"configure needs one of {', '.join(given)}")
        check_settings(**changed)
        self._not_in_own_exchange()
        stops = None if stopbits is None else float(stopbits)
        wait = check_seconds(turn, "turn")
        await self._wire.configure(baudrate, bytesize, parity, stops, xonxoff, rtscts, dsrdtr, wait)

    async def write_eof(self) -> None:
        """End the output: the other side reads the end of the stream, and can still answer (TCP's half-close). Nothing
        can be sent after it. Raises Unsupported on a serial line; LinkLost, LinkClosed."""
        await self._wire.write_eof()


def end_bytes(end: str | bytes) -> bytes:
    data = end.encode("latin-1") if isinstance(end, str) else bytes(end)
    if not data:
        raise ValueError("read_until() needs at least one byte to wait for")
    return data
