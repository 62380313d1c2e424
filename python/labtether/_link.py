"""Links: what a user holds. Names, defaults and docs; decisions about the wire are Rust's."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from labtether import _core
from labtether._checks import check_count, check_seconds
from labtether._engine import ensure_started
from labtether._exchange import Exchange
from labtether._face import Face, Message, is_interactive
from labtether._framing import FramingLike, PatternLike, as_framing, as_pattern, encoder_of
from labtether._streams import Messages, Poll

if TYPE_CHECKING:
    from labtether._blocking import SyncLink

__all__ = ["Link"]

M = TypeVar("M", str, bytes)
T = TypeVar("T")


class Link(Face[M]):
    """A connection to one instrument, owned by Rust: made closed, usable between setup and stop.

    `async with link:` in programs; `await link.setup()` and `await link.stop()` in notebooks; `with link.sync:` where
    there is no event loop. A link belongs to no event loop and no thread. Make one with `serial`, `tcp` or `link`.

    Every wait has a deadline. A cancelled await ends when Rust has stopped the work, and never leaves its reply to the
    next question.
    """

    __slots__ = ()

    # -- the scope
    # ---------------------------------------------------------------------------------------------------------------

    async def setup(self, *, replace: bool | None = None) -> Self:
        """Open the link and return it. Nothing happens if this object has set it up already.

        replace: whether an idle link of this process that holds the port is stopped for this one; None: in interactive
        sessions only.

        Raises OpenFailed (with `kind`), LinkBusy if another link of this process holds the port. All or nothing: after
        a failure, or a cancellation, nothing is left open.
        """
        ensure_started()
        await self._wire.setup(self._place(), is_interactive() if replace is None else bool(replace), False)
        return self

    async def stop(self) -> None:
        """Close the link, whatever it is doing: waits fail with LinkClosed, pending output is drained for at most
        `close_timeout`.

        Always works: twice, after a failed setup, on a dead link, from any loop or thread. Raises CleanupTimeout if
        something is stuck. A cancellation does not stop it; the await ends when the link is closed.
        """
        if not self._wire.never_started():
            await self._wire.stop()

    async def __aenter__(self) -> Self:
        ensure_started()
        await self._wire.setup(self._place(), False, True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def sync(self) -> SyncLink[M]:
        """The same link with blocking methods, for code without an event loop; they can be interrupted."""
        from labtether._blocking import SyncLink

        return SyncLink(self)

    # -- asking -------------------------------------------------------------------------------------------------------
    # -----------

    @overload
    async def query(
        self,
        command: Message,
        *,
        framing: FramingLike | None = None,
        parse: None = None,
        timeout: float | None = None,
        turn: float | None = None,
    ) -> M: ...
    @overload
    async def query(
        self,
        command: Message,
        *,
        framing: FramingLike | None = None,
        parse: Callable[[M], T],
        timeout: float | None = None,
        turn: float | None = None,
    ) -> T: ...
    async def query(
        self,
        command: Message,
        *,
        framing: FramingLike | None = None,
        parse: Callable[[M], Any] | None = None,
        timeout: float | None = None,
        turn: float | None = None,
    ) -> Any:
        """Send `command` and return the instrument's reply to it, without its terminator.

        framing: how this reply ends, if not as the link's messages do. parse: makes a value of the reply, such as
        `lt.number`. timeout: seconds from the moment the command is written; None: the link's own. turn: seconds to
        wait for one's turn; None: the link's own, 30; 0: do not wait.

        Raises LinkTimeout if no whole reply came (the link stays usable), LinkLost, LinkClosed, LinkBusy if the turn
        did not come, FrameError if the reply is garbled or `parse` raises ValueError. If cancelled, the link still
        reads the reply and drops it, so the next query is safe.
        """
        body, raw = self._encode(command)
        encoder, core = self._encoder, None
        if framing is not None:
            lines = as_framing(framing)
            assert lines is not None
            encoder, core = encoder_of(lines), lines.core
        operation = self._wire.query(body, raw, core, check_seconds(timeout, "timeout"), check_seconds(turn, "turn"))
        if self._exchange is not None:
            self._not_in_own_exchange()
        reply = await operation
        return self._decoded(reply, encoder, parse, command)

    def exchange(self, *, timeout: float | None = None, turn: float | None = None) -> Exchange[M]:
        """A conversation of several messages, to itself: `async with link.exchange(timeout=60) as talk`.

        timeout: seconds for the whole of it, from its first byte; None: the link's own. turn: seconds to wait for the
        line. Raises LinkBusy if the turn did not come.

        What is left unfetched goes to nobody else. What a failed exchange is still owed is read and dropped by the
        link; a cancelled one, which might have been told more, keeps the line for `drain` after that. The answer to
        a last `send` that was not waited for is dropped if it comes within `settle`.
        """
        return Exchange(self, check_seconds(timeout, "timeout"), check_seconds(turn, "turn"))

    def poll(
        self,
        command: Message,
        *,
        every: float,
        count: int | None = None,
        parse: Callable[[M], Any] | None = None,
        timeout: float | None = None,
        turn: float | None = None,
        on_error: str = "raise",
        framing: FramingLike | None = None,
        capacity: int = 1000,
    ) -> Poll:
        """Ask again and again: `async with link.poll("SI", every=0.1) as readings`, or a bare `async for`. Readings
        have `time` and `value`.

        Paced by Rust, so it never drifts with Python. every: seconds from one asking to the next; a slow answer loses
        beats, it does not shift them; 0: ask again as soon as the answer is there. count: how often at most. on_error:
        "raise" ends it, "skip" goes on. capacity: how many readings are kept for a busy Python; then the oldest is
        dropped, and counted in `dropped`.

        Iterating raises what a query raises. Cancelling an iteration loses no reading. It ends with its iterator, or
        its task on asyncio.
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
        body, raw = self._encode(command)
        lines = as_framing(framing)
        pace = check_seconds(every, "every", finite=True)
        if pace is None:
            raise TypeError("every is a number of seconds, not None")
        most = None if count is None else check_count(count, "count")
        limit, wait = check_seconds(timeout, "timeout"), check_seconds(turn, "turn")
        room = check_count(capacity, "capacity")
        if lines is None and self._framing is None:
            raise ValueError("a link with framing=None needs framing= for each reply")
        core = None if lines is None else lines.core
        encoder = self._encoder if lines is None else encoder_of(lines)

        def start() -> _core.Stream:
            return self._wire.poll(body, raw, core, pace, most, limit, wait, on_error == "skip", room)

        def decode(reply: bytes) -> Any:
            return self._decoded(reply, encoder, parse, command)

        return Poll(self, start, decode, f"poll of {command!r}", skip=on_error == "skip")

    # -- one way
    # -----------------------------------------------------------------------------------------------------------------

    async def send(
        self, message: Message, *, urgent: bool = False, timeout: float | None = None, turn: float | None = None
    ) -> None:
        """Send `message` and wait for no answer; returns when the system has taken the whole of it.

        urgent: at once, past the queue, within 50 ms on a line that accepts bytes; may cut the message that is being
        written. An answer that comes all the same is not a reply: it goes to `messages()` or `receive()`.

        Raises LinkTimeout if the line takes no more, LinkLost, LinkClosed, LinkBusy. If cancelled before its first
        byte, nothing is sent; after it, the link still sends the rest.
        """
        body, raw = self._encode(message, "a message")
        if self._exchange is not None and not urgent:
            self._not_in_own_exchange()
        await self._wire.send(
            body, raw, bool(urgent), check_seconds(timeout, "timeout"), check_seconds(turn, "turn"), None
        )

    async def receive(self, *, match: PatternLike | None = None, timeout: float | None = None) -> M:
        """The next message that nobody asked for; those that came while nobody listened are kept, up to a thousand.

        match: wait for one that matches (searched; str, bytes, compiled, or a function of the message); others stay
        for the next receive.

        Raises LinkTimeout, LinkLost, LinkClosed. If cancelled, a message that had come is kept for the next.
        """
        if self._framing is None:
            raise TypeError(
                "receive() takes messages; a link with framing=None has read(), read_until() and read_some()"
            )
        pattern, function = as_pattern(match, "match", self._encoder.encoding)
        limit = check_seconds(timeout, "timeout")
        if function is not None:
            return await self._receive_by(function, self._timeout if limit is None else limit)
        message: M = self._decoded(await self._wire.receive(pattern, None, limit, None), self._encoder, None, None)
        return message

    async def _receive_by(self, function: Callable[[M], object], limit: float) -> M:
        deadline = time.monotonic() + limit
        unwanted: list[bytes] = []
        try:
            while True:
                left = max(0.0, deadline - time.monotonic())
                body: bytes = await self._wire.receive(None, None, left, None)
                message: M = self._decoded(body, self._encoder, None, None)
                if function(message):
                    return message
                unwanted.append(body)
        finally:
            if unwanted:
                self._wire.give_back(unwanted)

    def messages(self, pattern: PatternLike | None = None, *, capacity: int = 1000) -> Messages[M]:
        """What no exchange claimed, from now on: `async with link.messages() as heard`, or a bare `async for`.

        Each iterator gets its copy of every message that matches `pattern`; what nobody iterates over goes to
        `receive()`. capacity: how many are kept for a busy Python; then the oldest is dropped, and counted in
        `dropped`.
        """
        if self._framing is None:
            raise TypeError(
                "messages() needs a framing; a link with framing=None has read(), read_until() and read_some()"
            )
        compiled, function = as_pattern(pattern, "pattern", self._encoder.encoding)
        room = check_count(capacity, "capacity")
        return Messages(self, lambda: self._wire.messages(compiled, room), function)

    # -- raw bytes
    # ---------------------------------------------------------------------------------------------------------------

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
        data: bytes = await self._wire.read_until(_end(end), check_seconds(timeout, "timeout"), None, None)
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


def _end(end: str | bytes) -> bytes:
    data = end.encode("latin-1") if isinstance(end, str) else bytes(end)
    if not data:
        raise ValueError("read_until() needs at least one byte to wait for")
    return data
