"""Links: what a user holds. Names, defaults and docs; decisions about the wire are Rust's."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from labtether import _core
from labtether._checks import check_count, check_seconds
from labtether._engine import ensure_started
from labtether._errors import FrameError
from labtether._exchange import Exchange, current_task
from labtether._framing import Encoder, FramingLike, Lines, PatternLike, as_framing, as_pattern, encoder_of
from labtether._streams import Messages, Poll
from labtether._values import Event, Raw

if TYPE_CHECKING:
    from labtether._blocking import SyncLink

__all__ = ["Link", "Message"]

M = TypeVar("M", str, bytes)
T = TypeVar("T")

Message = str | bytes | Raw


class Link(Generic[M]):
    """A connection to one instrument, owned by Rust: made closed, usable between setup and stop.

    `async with link:` in programs; `await link.setup()` and `await link.stop()` in notebooks; `with link.sync:` where
    there is no event loop. A link belongs to no event loop and no thread. Make one with `serial`, `tcp` or `link`.

    Every wait has a deadline. A cancelled await ends when Rust has stopped the work, and never leaves its reply to the
    next question.
    """

    __slots__ = (
        "__weakref__",
        "_described",
        "_encoder",
        "_framing",
        "_made",
        "_name",
        "_sync",
        "_talker",
        "_timeout",
        "_url",
        "_wire",
    )

    def __init__(
        self, wire: _core.Wire, *, name: str, url: str, described: str, timeout: float, framing: Lines | None
    ) -> None:
        self._wire = wire
        self._name = name
        self._url = url
        self._described = described
        self._timeout = timeout
        self._framing = framing
        self._made = _caller()
        self._encoder: Encoder = encoder_of(framing)
        self._talker: object | None = None
        self._sync: SyncLink[M] | None = None

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
        await self._wire.setup(self._place(), _is_interactive() if replace is None else bool(replace), False)
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
        if self._sync is None:
            from labtether._blocking import SyncLink

            self._sync = SyncLink(self)
        return self._sync

    def __del__(self) -> None:
        try:
            forgotten = self._wire.state in ("open", "opening")
        except AttributeError:
            return
        if forgotten:
            place = self._wire.set_up_at
            self._wire.forget()
            warnings.warn(
                f"{self._name} ({self._url}) was never stopped; set up {place}",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

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
        if self._talker is not None:
            self._not_in_own_exchange()
        reply = await operation
        return self._decoded(reply, encoder, parse, command)

    def exchange(self, *, timeout: float | None = None, turn: float | None = None) -> Exchange[M]:
        """A conversation of several messages, to itself: `async with link.exchange(timeout=60) as talk`.

        timeout: seconds for the whole of it, from its first byte; None: the link's own. turn: seconds to wait for the
        line. Raises LinkBusy if the turn did not come. What a cancelled or failed exchange is still owed is read and
        dropped by the link.
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

        return Poll(self, start, lambda reply: self._decoded(reply, encoder, parse, command), f"poll of {command!r}")

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
        if self._talker is not None and not urgent:
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
        pattern, function = as_pattern(match, "match")
        limit = check_seconds(timeout, "timeout")
        if function is not None:
            return await self._receive_by(function, self._timeout if limit is None else limit)
        message: M = self._decoded(await self._wire.receive(pattern, None, limit, None), self._encoder, None, None)
        return message

    async def _receive_by(self, function: Callable[[Any], object], limit: float) -> M:
        deadline = time.monotonic() + limit
        while True:
            left = max(0.0, deadline - time.monotonic())
            message: M = self._decoded(await self._wire.receive(None, None, left, None), self._encoder, None, None)
            if function(message):
                return message

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
        compiled, function = as_pattern(pattern, "pattern")
        room = check_count(capacity, "capacity")
        return Messages(self, lambda: self._wire.messages(compiled, room), self._encoder.decode, function)

    # -- raw bytes
    # ---------------------------------------------------------------------------------------------------------------

    async def read(self, n: int, *, timeout: float | None = None) -> bytes:
        """Exactly `n` raw bytes. Raises LinkTimeout if they did not all come: those that did stay for the next read;
        LinkLost, LinkClosed."""
        self._only_raw("read")
        data: bytes = await self._wire.read(check_count(n, "n"), check_seconds(timeout, "timeout"), None, None)
        return data

    async def read_until(self, end: str | bytes, *, timeout: float | None = None) -> bytes:
        """Raw bytes up to and including `end`. A timeout or a cancellation keeps what came for the next read."""
        self._only_raw("read_until")
        data: bytes = await self._wire.read_until(_end(end), check_seconds(timeout, "timeout"), None, None)
        return data

    async def read_some(self, max_bytes: int = 65536, *, timeout: float | None = None) -> bytes:
        """What there is, at least one byte, at most `max_bytes`. A cancellation loses nothing."""
        self._only_raw("read_some")
        data: bytes = await self._wire.read_some(
            check_count(max_bytes, "max_bytes"), check_seconds(timeout, "timeout"), None, None
        )
        return data

    async def write(self, data: bytes, *, timeout: float | None = None) -> None:
        """Write raw bytes; returns when the system has taken them all. If cancelled, what has not gone is not sent."""
        self._only_raw("write")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if len(data):
            await self._wire.write(bytes(data), check_seconds(timeout, "timeout"), None)

    async def discard_input(self) -> None:
        """Throw away what has come and was not read: raw bytes and unasked messages, the system's buffer included."""
        await self._wire.discard_input()

    # -- looking
    # -----------------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name, in errors, logs and trees."""
        return self._name

    @property
    def url(self) -> str:
        """Where it leads, as `lt.link` would take it."""
        return self._url

    @property
    def timeout(self) -> float:
        """Seconds for an exchange that gives none of its own."""
        return self._timeout

    @property
    def state(self) -> str:
        """One of "closed", "opening", "open", "lost", "closing"."""
        return self._wire.state

    def trace(self) -> list[Event]:
        """The last events on the wire, oldest first; as many as the option `trace` says."""
        return [Event(*row) for row in self._wire.trace()]

    def __repr__(self) -> str:
        exchanges, _written, _read, late, _dropped, last = self._wire.counts()
        parts = [f"{exchanges} exchange{'' if exchanges == 1 else 's'}"] if exchanges else []
        if late:
            parts.append(f"{late} late repl{'y' if late == 1 else 'ies'} dropped")
        if last is not None:
            parts.append(f"last {max(0.0, time.monotonic() - last):.1f} s ago")
        return f"<Link {self._name} {self._described} {self.state}{', ' if parts else ''}{', '.join(parts)}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self._name} is a live connection and cannot be pickled; send its url ({self._url}) and make a link there"
        )

    # -- helpers
    # -----------------------------------------------------------------------------------------------------------------

    def _encode(self, message: Message, what: str = "a command") -> tuple[bytes, bool]:
        if isinstance(message, Raw):
            return message.data, True
        if isinstance(message, bytes):
            return message, False
        return self._encoder.encode(message, what), False

    def _decoded(
        self, body: bytes, encoder: Encoder, parse: Callable[[Any], Any] | None, command: Message | None
    ) -> Any:
        try:
            message = encoder.decode(body)
            return message if parse is None else parse(message)
        except ValueError as error:
            asked = command.data if isinstance(command, Raw) else command
            about = "" if asked is None else f" in answer to {asked!r}"
            failure = FrameError(
                f"{self._name} sent something unreadable{about}: {error}",
                link=self._name,
                port=self._url,
                command=asked,
                heard=body,
            )
            events = [f"{event.direction} {event.note} {event.data!r}" for event in self.trace()[-6:]]
            if events:
                failure.add_note(f"last on the wire of {self._name}:\n  " + "\n  ".join(events))
            raise failure from error

    def _place(self) -> str:
        here = _caller()
        return f"at {here}" if here is not None else f"(made at {self._made})"

    def _only_raw(self, method: str) -> None:
        if self._framing is not None:
            raise TypeError(
                f"{method}() is for links with framing=None; on {self._name} use query(), receive(), or an exchange"
            )

    def _not_in_own_exchange(self) -> None:
        if self._talker == current_task():
            raise RuntimeError(
                f"this task has an exchange open on {self._name}: use the methods of the exchange, such as talk.query()"
            )


def _end(end: str | bytes) -> bytes:
    data = end.encode("latin-1") if isinstance(end, str) else bytes(end)
    if not data:
        raise ValueError("read_until() needs at least one byte to wait for")
    return data


def _is_interactive() -> bool:
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or "get_ipython" in _builtins()


def _builtins() -> dict[str, Any]:
    import builtins

    return vars(builtins)


def _caller() -> str | None:
    """Where the user's code stands, for messages that say who holds a port; None where a runner called us directly."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _root(frame) == "labtether":
        frame = frame.f_back
    return None if _root(frame) in _RUNNERS else f"{frame.f_code.co_filename}:{frame.f_lineno}"


_RUNNERS = frozenset({"asyncio", "anyio", "trio", "uvloop", "threading", "concurrent"})


def _root(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]
