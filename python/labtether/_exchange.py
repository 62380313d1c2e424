"""Exchanges: a conversation of several messages that has the line to itself."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from labtether import _core
from labtether._checks import check_break, check_count, check_seconds
from labtether._errors import InstrumentError, LinkError
from labtether._framing import Encoder, FramingLike, PatternLike, as_pattern
from labtether._patterns import matcher
from labtether._rules import Check, code_and_text
from labtether._strand import current_strand
from labtether._values import Raw

if TYPE_CHECKING:
    from labtether._asking import Asking
    from labtether._face import Message

__all__ = ["Exchange", "current_task"]

M = TypeVar("M", str, bytes)


_ANY = as_pattern(re.compile("", re.DOTALL), "match")[0]


def current_task() -> object:
    """Whoever runs: the trio task, the asyncio task, or the thread."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_task()
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else task


class Exchange(Generic[M]):
    """An exchange, from `link.exchange()`. Entered once; its methods work between entering and leaving.

    Each wait inside ends at its own timeout (or `idle`) or at the exchange's, whichever comes first. If a wait is
    cancelled, what had come is kept for the next one of the same exchange.

    If the block is left by an exception, the exchange's `abort` goes out at once and its answer is awaited before the
    exception goes on; what the instrument did is in `effect`, on the error, and in a note. No second interrupt skips
    that.
    """

    __slots__ = (
        "__weakref__",
        "_abort",
        "_behind",
        "_id",
        "_idle",
        "_limit",
        "_link",
        "_over",
        "_patience",
        "_said",
        "_task",
        "_turn",
        "effect",
        "skipped",
    )

    _link: Asking[M]
    skipped: list[M]
    """Messages that `receive(match=)` passed over."""
    effect: str | None
    """What the instrument did, once the exchange is over: "never_started", "halted", "halted_at_boundary",
    "ran_to_completion" or "unconfirmed"; None before."""

    def __init__(
        self,
        link: Asking[M],
        limit: float | None,
        turn: float | None,
        idle: float | None = None,
        abort: tuple[_core.Abort, float] | None = None,
    ) -> None:
        self._link = link
        self._limit = limit
        self._turn = turn
        self._idle = idle
        self._abort: _core.Abort | None = None if abort is None else abort[0]
        self._patience = 0.0 if abort is None else abort[1]
        self.effect = None
        self._said = b""
        """What was sent last, for framings that depend on it."""
        self._id: int | None = None
        self._behind = False
        """Whether a wait was given up whose answer may still come."""
        self._over = False
        self._task: object = None
        self.skipped = []

    async def __aenter__(self) -> Self:
        if self._id is not None:
            raise RuntimeError("an exchange is entered once")
        link = self._link
        link._not_in_own_exchange()
        self._id = await link._wire.open_talk(link._place(), self._limit, self._turn, self._abort)
        try:
            self._task = current_task()
            link._exchange = weakref.ref(self)
        except BaseException as error:
            # Ctrl-C can come between any two steps, and nobody leaves what he has not entered.
            self._drop(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave(error)

    def __del__(self) -> None:
        # Entered, and interrupted on the very way out; or interrupted while it was made.
        entered: int | None = getattr(self, "_id", None)
        if entered is not None and not self._over:
            self._link._wire.end_talk(entered, False, True)

    async def _leave(self, error: BaseException | None) -> None:
        """Give the line back; if the body failed or was cut short, wait for the abort and say what it came to."""
        if error is None or isinstance(error, GeneratorExit):
            self._drop(error)
            return
        # Cut short at any await, and not failed at one of its own making: another answer may be on its way.
        cancelled = not isinstance(error, Exception)
        leaving = self._link._wire.leave_talk(self._talk(), False, cancelled, self._patience)
        self._forget()
        try:
            effect: str = await leaving
        except LinkError:
            # The connection has ended, and nothing more can be known.
            self._say("unconfirmed", error)
        except BaseException as again:
            # Cancelled once more; the abort was seen through all the same, and its effect is known.
            self._say(leaving.effect or "unconfirmed", error)
            if not (cancelled and type(again) is type(error)):
                raise
            return
        else:
            self._say(effect, error)
        strand = current_strand()
        if cancelled and strand is not None:
            strand._add_effects((self._link.name, None, self.effect or "unconfirmed"))

    def _say(self, effect: str, error: BaseException) -> None:
        self.effect = effect
        if isinstance(error, LinkError):
            error.effect = effect
        if effect != "never_started":
            error.add_note(f"labtether: the exchange on {self._link.name} was cut short: {effect}")

    def _drop(self, error: BaseException | None) -> None:
        """Give the line back without waiting."""
        cancelled = error is not None and not isinstance(error, Exception)
        self._link._wire.end_talk(self._talk(), error is None, cancelled)
        self.effect = "ran_to_completion" if error is None else "unconfirmed"
        self._forget()

    def _forget(self) -> None:
        self._over = True
        known = self._link._exchange
        if known is not None and known() is self:
            self._link._exchange = None

    def _talk(self) -> int:
        if self._id is None:
            raise RuntimeError("the exchange has not been entered: async with link.exchange() as talk")
        return self._id

    async def send(self, message: Message, *, timeout: float | None = None) -> None:
        """Send `message`. Raises LinkTimeout if the line takes no more, LinkLost, LinkClosed."""
        body, raw = self._link._encode(message, "a message")
        self._said = body
        await self._waited(self._link._wire.send(body, raw, False, self._within(timeout), None, self._talk()))

    async def receive(
        self,
        *,
        match: PatternLike | None = None,
        timeout: float | None = None,
        framing: FramingLike | None = None,
        parse: Callable[[M], Any] | None = None,
    ) -> Any:
        """The next message. match: the next that matches; those passed over go to `skipped`. framing: how this one
        ends. parse: makes a value of it.

        Raises LinkTimeout, FrameError, InstrumentError if it matches the link's `error` or `busy` and was not asked for
        by `match`, LinkLost, LinkClosed.
        """
        pattern, function = as_pattern(match, "match", self._link._encoder.encoding)
        limit = self._within(timeout)
        deadline = _core.monotonic() + limit
        if match is not None and self._link._accept is not None:
            # On a face the address is no part of the message.
            pattern, function = None, matcher(match)
        while True:
            left = max(0.0, min(limit, deadline - _core.monotonic()))
            if function is None:
                return await self._next(pattern, framing, left, parse, None)
            # Asked for by name, an error is no error to its asker: the function is asked first.
            message: M = await self._next(_ANY, framing, left, None, None)
            if function(message):
                return message if parse is None else self._link._parsed(message, parse)
            self.skipped.append(message)
            refusal = self._link._wire.refusal(self._link._encoder.encode(message))
            if refusal is not None:
                raise refusal

    async def query(
        self,
        command: Message,
        *,
        framing: FramingLike | None = None,
        parse: Callable[[M], Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Send `command` and return the next message, as `link.query` would.

        What an earlier wait of this exchange gave up on is waited for first, and dropped: for at most that wait's own
        timeout and the link's `drain`.
        """
        if self._behind:
            await self._link._wire.catch_up(self._talk())
            self._behind = False
        await self.send(command, timeout=timeout)
        return await self._next(None, framing, self._within(timeout), parse, command)

    async def _query_bytes(self, command: Message, framing: FramingLike | None) -> bytes:
        """The reply as it came, for whoever decodes it later."""
        await self.send(command)
        core = self._framing(framing)[1]
        operation = self._link._wire.receive(None, core, self._link._accept, self._within(None), self._talk())
        body: bytes = await self._waited(operation)
        return body

    async def _check(self, check: Check, after: Message) -> InstrumentError | None:
        """Ask whether all went well, as the link's `check` says; what went wrong, for after the exchange."""
        reply = await self.query(check.command)
        if check.is_ok(reply):
            return None
        code, text = code_and_text(check.error, reply)
        return InstrumentError(
            f"{self._link.name} answered {check.command!r} after {after!r} with {reply!r}",
            link=self._link.name,
            port=self._link.url,
            command=after.data if isinstance(after, Raw) else after,
            heard=reply.encode("latin-1", "replace") if isinstance(reply, str) else reply,
            code=code,
            text=text,
            reply=reply,
            effect="ran_to_completion",
        )

    async def send_break(self, seconds: float = 0.25) -> None:
        """Hold the line in break, within the exchange; see Link.send_break."""
        await self._link._wire.send_break(check_break(seconds), None, self._talk())

    def _framing(self, framing: FramingLike | None) -> tuple[Encoder, _core.Framing | None]:
        if framing is None and not self._link._by_command:
            return self._link._encoder, None
        return self._link._framing_of(framing, self._said)

    async def _waited(self, operation: _core.Operation) -> Any:
        __tracebackhide__ = True
        try:
            return await operation
        except BaseException:
            # What it waited for may still come.
            self._behind = True
            raise

    async def _next(
        self,
        pattern: _core.Pattern | None,
        framing: FramingLike | None,
        limit: float,
        parse: Callable[[M], Any] | None,
        command: Message | None,
    ) -> Any:
        __tracebackhide__ = True
        if framing is None and self._link._framing is None:
            raise ValueError("a link with framing=None needs framing= for each message, or read()")
        encoder, core = self._framing(framing)
        accept = self._link._accept
        answer = await self._waited(self._link._wire.receive(pattern, core, accept, limit, self._talk()))
        # Alone, or with those that were passed over on the way to it.
        body, skipped = answer if isinstance(answer, tuple) else (answer, [])
        self.skipped += [self._link._heard(one, encoder) for one in skipped]
        return self._link._decoded(body, encoder, parse, command)

    async def read(self, n: int, *, timeout: float | None = None) -> bytes:
        """Exactly `n` raw bytes, whatever the link's framing."""
        operation = self._link._wire.read(check_count(n, "n"), self._within(timeout), None, self._talk())
        data: bytes = await self._waited(operation)
        return data

    async def read_until(self, end: str | bytes, *, timeout: float | None = None) -> bytes:
        """Raw bytes up to and including `end`."""
        from labtether._line import end_bytes

        operation = self._link._wire.read_until(end_bytes(end), self._within(timeout), None, self._talk())
        data: bytes = await self._waited(operation)
        return data

    async def read_some(self, max_bytes: int = 65536, *, timeout: float | None = None) -> bytes:
        """What there is, at least one byte."""
        most = check_count(max_bytes, "max_bytes")
        data: bytes = await self._waited(self._link._wire.read_some(most, self._within(timeout), None, self._talk()))
        return data

    async def write(self, data: bytes, *, timeout: float | None = None) -> None:
        """Send raw bytes, without framing."""
        await self.send(Raw(bytes(data)), timeout=timeout)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        # There is always another part, or a timeout: the body leaves the loop when it has what it wants.
        part: M = await self.receive()
        return part

    def _within(self, timeout: float | None) -> float:
        given = check_seconds(timeout, "timeout")
        if given is not None:
            return given
        if self._idle is not None:
            return self._idle
        return self._link.timeout if self._limit is None else self._limit

    def __repr__(self) -> str:
        state = "over" if self._over else "not entered" if self._id is None else "open"
        return f"<Exchange on {self._link.name}: {state}>"
