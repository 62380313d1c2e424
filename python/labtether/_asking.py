"""What is asked of a link. Names, defaults and docs; decisions about the wire are Rust's."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, Unpack, overload

from labtether import _core
from labtether._checks import check_count, check_seconds
from labtether._errors import InstrumentBusy, LinkTimeout
from labtether._exchange import Exchange
from labtether._face import Message
from labtether._framing import FramingLike, PatternLike, as_pattern
from labtether._hearing import Hearing
from labtether._patterns import matcher
from labtether._rules import Abort
from labtether._streams import Poll
from labtether._time import sleep
from labtether._values import Raw

__all__ = ["Asking", "QueryOptions"]

M = TypeVar("M", str, bytes)
T = TypeVar("T")


class AskOptions(TypedDict, total=False):
    """What a question can be given besides its command, `parse`, `framing` and `timeout`; see Link.query."""

    turn: float | None
    abort: Message | Abort | None
    on_cancel: str
    retries: int
    retry_delay: float
    idempotent: bool


class QueryOptions(AskOptions, total=False):
    """The same, with `timeout`."""

    timeout: float | None


class Asking(Hearing[M]):
    """The part of a link that speaks in messages."""

    __slots__ = ()

    @overload
    async def query(
        self, command: Message, *, framing: None = None, parse: None = None, **options: Unpack[QueryOptions]
    ) -> M: ...
    @overload
    async def query(
        self, command: Message, *, framing: None = None, parse: Callable[[M], T], **options: Unpack[QueryOptions]
    ) -> T: ...
    @overload
    async def query(
        self,
        command: Message,
        *,
        framing: FramingLike,
        parse: Callable[[Any], Any] | None = None,
        **options: Unpack[QueryOptions],
    ) -> Any: ...
    async def query(
        self,
        command: Message,
        *,
        framing: FramingLike | None = None,
        parse: Callable[[M], Any] | None = None,
        timeout: float | None = None,
        turn: float | None = None,
        abort: Message | Abort | None = None,
        on_cancel: str = "leave",
        retries: int = 0,
        retry_delay: float = 0.1,
        idempotent: bool = False,
    ) -> Any:
        """Send `command` and return the instrument's reply to it, without its terminator.

        framing: how this reply ends, if not as the link's messages do. parse: makes a value of the reply, such as
        `lt.number`. timeout: seconds from the moment the command is written; None: the link's own. turn: seconds to
        wait for one's turn; None: the link's own, 30; 0: do not wait. abort: what is sent at once if the await is
        cancelled or the reply does not come in time: a message, a Raw, or `lt.Abort(message, reply=, timeout=)`; its
        answer is awaited before the await ends. on_cancel: "leave" ends a cancelled await at once (the link still reads
        the reply and drops it, so that the next query is safe); "finish" waits for the reply all the same. retries: how
        often it is asked again, after `retry_delay` seconds, when the reply matches the link's `busy`. idempotent: it
        may be asked again after silence too (within `retries`), and after a lost connection.

        Raises LinkTimeout if no whole reply came (the link stays usable; `effect` says what the instrument did),
        InstrumentError if the reply matches the link's `error`, InstrumentBusy if it matches `busy` and the retries are
        used up, FrameError if the reply is garbled or `parse` raises ValueError, LinkLost, LinkClosed, LinkBusy if the
        turn did not come.
        """
        body, raw = self._encode(command)
        encoder, core = self._encoder, None
        if framing is not None or self._by_command:
            encoder, core = self._framing_of(framing, body)
        limit = None if timeout is None else check_seconds(timeout, "timeout")
        wait = None if turn is None else check_seconds(turn, "turn")
        if self._exchange is not None:
            self._not_in_own_exchange()
        if (
            abort is None
            and on_cancel == "leave"
            and retries == 0
            and not idempotent
            and retry_delay == 0.1
            and self._extras.check is None
        ):
            # Nearly every query: the short way.
            carried = self._more(body, None, False, False) if self._is_special else None
            reply = await self._wire.query(body, raw, core, limit, wait, carried)
            return self._decoded(reply, encoder, parse, command)
        if on_cancel not in ("leave", "finish"):
            raise ValueError(f"on_cancel is 'leave' or 'finish', not {on_cancel!r}")
        again, pause = check_count(retries, "retries", least=0), check_seconds(retry_delay, "retry_delay", finite=True)
        if pause is None:
            raise TypeError("retry_delay is a number of seconds, not None")
        if self._extras.check is not None:
            if raw or on_cancel != "leave":
                raise ValueError("with check= a command is framed and on_cancel is 'leave'")
            ask: Callable[[], Any] = functools.partial(self._checked, command, framing, limit, wait, abort)
        else:
            more = self._more(body, abort, on_cancel == "finish", bool(idempotent))
            ask = functools.partial(self._wire.query, body, raw, core, limit, wait, more)
        reply = await self._asked(ask, again, pause, bool(idempotent))
        return self._decoded(reply, encoder, parse, command)

    async def _asked(self, ask: Callable[[], Any], retries: int, pause: float, idempotent: bool) -> bytes:
        """The reply, asked for once and `retries` times more."""
        for _ in range(retries):
            try:
                reply: bytes = await ask()
            except InstrumentBusy:
                await sleep(pause)
            except LinkTimeout:
                if not idempotent:
                    raise
            else:
                return reply
        last: bytes = await ask()
        return last

    async def _checked(
        self,
        command: Message,
        framing: FramingLike | None,
        limit: float | None,
        turn: float | None,
        abort: Message | Abort | None,
    ) -> bytes:
        """The reply to `command`, after the question whether all went well."""
        check = self._extras.check
        assert check is not None
        async with self.exchange(timeout=limit, turn=turn, abort=abort) as talk:
            reply = await talk._query_bytes(command, framing)
            failure = await talk._check(check, command)
        if failure is not None:
            raise failure
        return reply

    async def query_all(
        self,
        command: Message,
        *,
        until: PatternLike | int,
        framing: FramingLike | None = None,
        parse: Callable[[M], Any] | None = None,
        timeout: float | None = None,
        idle: float | None = None,
        turn: float | None = None,
        abort: Message | Abort | None = None,
    ) -> list[Any]:
        """Send `command` and return all messages of its reply, in order.

        until: the last one matches it (a pattern, searched; or a function of the message), or there are so many. idle:
        seconds that may pass from one to the next; None: only `timeout` counts, which is for all of it. The rest as
        for `query`, whose errors it raises; on a LinkTimeout the messages that had come are in its `heard`,
        one a line.
        """
        given: Any = until
        if isinstance(given, bool) or not (isinstance(given, (int, str, bytes, re.Pattern)) or callable(given)):
            raise TypeError(f"until is a pattern, a function or a number, not {type(until).__name__}")
        last: Callable[[Any], object] | None
        most = check_count(until, "until") if isinstance(until, int) else None
        last = None if isinstance(until, int) else matcher(until, "until")
        body, raw = self._encode(command)
        self._framing_of(framing, body)
        if self._framing is not None and not raw:
            self._framing.encode(body)
        found: list[Any] = []
        heard: list[bytes] = []
        try:
            async with self.exchange(timeout=timeout, turn=turn, idle=idle, abort=abort) as talk:
                await talk.send(command)
                while True:
                    message: Any = await talk.receive(framing=framing)
                    heard.append(message if isinstance(message, bytes) else self._encoder.encode(message))
                    found.append(message if parse is None else self._parsed(message, parse))
                    if len(found) == most or (last is not None and last(message)):
                        return found
        except LinkTimeout as error:
            error.heard = b"\n".join([*heard, error.heard])
            raise

    async def wait_until(
        self,
        command: Message,
        predicate: Callable[[Any], object],
        *,
        every: float = 0.5,
        timeout: float,
        parse: Callable[[M], Any] | None = None,
        framing: FramingLike | None = None,
        **options: Unpack[AskOptions],
    ) -> Any:
        """Ask `command` again and again, `every` seconds, until `predicate` of the reply (as `parse` made it) is true;
        that reply is returned.

        timeout: seconds for all of it. Raises LinkTimeout with the last reply in `heard` when they have passed, and
        whatever a query or `predicate` raises. It takes the line for each question only.
        """
        pace, limit = check_seconds(every, "every", finite=True), check_seconds(timeout, "timeout")
        if pace is None or limit is None:
            raise TypeError(f"{'every' if pace is None else 'timeout'} is a number of seconds, not None")
        if not callable(predicate):
            raise TypeError(f"predicate is a function of the reply, not {type(predicate).__name__}")
        ask: Any = self.query
        begun = _core.monotonic()
        beat, end = begun, begun + limit
        reply: Any = None
        while True:
            left = end - _core.monotonic()
            try:
                reply = await ask(command, framing=framing, parse=parse, timeout=min(left, self._timeout), **options)
            except LinkTimeout:
                # The last question may have had next to no time; that is not the instrument's fault.
                if reply is None or left >= self._timeout:
                    raise
            else:
                if predicate(reply):
                    return reply
                beat = min(max(beat + pace, _core.monotonic()), end)
                await sleep(max(0.0, beat - _core.monotonic()))
                if _core.monotonic() < end:
                    continue
            raise LinkTimeout(
                f"{self._name}: what was waited for did not come within {limit:g} s of asking {command!r}; the last"
                f" reply was {reply!r}",
                link=self._name,
                port=self._url,
                command=command.data if isinstance(command, Raw) else command,
                heard=reply if isinstance(reply, bytes) else str(reply).encode("latin-1", "replace"),
                elapsed=_core.monotonic() - begun,
                effect="ran_to_completion",
            )

    def exchange(
        self,
        *,
        timeout: float | None = None,
        turn: float | None = None,
        idle: float | None = None,
        abort: Message | Abort | None = None,
    ) -> Exchange[M]:
        """A conversation of several messages, to itself: `async with link.exchange(timeout=60, abort="HALT") as talk`.

        timeout: seconds for the whole of it, from its first byte; None: the link's own. turn: seconds to wait for the
        line. idle: seconds for each wait inside it that gives no time of its own. abort: what is sent, past everything
        else, if the block is left by an exception (a cancellation, a timeout) after anything was sent: a message, a
        Raw, or `lt.Abort(message, reply=, timeout=)`. Raises LinkBusy if the turn did not come.

        What is left unfetched goes to nobody else. What a failed exchange is still owed is read and dropped by the
        link; a cancelled one, which might have been told more, keeps the line for `drain` after that. The answer to
        a last `send` that was not waited for is dropped if it comes within `settle`.
        """
        limit, wait = check_seconds(timeout, "timeout"), check_seconds(turn, "turn")
        return Exchange(self, limit, wait, check_seconds(idle, "idle"), self._abort(abort))

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
        pace = check_seconds(every, "every", finite=True)
        if pace is None:
            raise TypeError("every is a number of seconds, not None")
        most = None if count is None else check_count(count, "count")
        limit, wait = check_seconds(timeout, "timeout"), check_seconds(turn, "turn")
        room = check_count(capacity, "capacity")
        if framing is None and self._framing is None:
            raise ValueError("a link with framing=None needs framing= for each reply")
        encoder, core = self._framing_of(framing, body) if framing is not None or self._by_command else (None, None)
        more = self._more(body, None, False, True) if self._is_special else None

        def start() -> _core.Stream:
            return self._wire.poll(body, raw, core, pace, most, limit, wait, on_error == "skip", room, more)

        def decode(reply: bytes) -> Any:
            return self._decoded(reply, encoder or self._encoder, parse, command)

        return Poll(self, start, decode, f"poll of {command!r}", skip=on_error == "skip")

    async def send(
        self, message: Message, *, urgent: bool = False, timeout: float | None = None, turn: float | None = None
    ) -> None:
        """Send `message` and wait for no answer; returns when the system has taken the whole of it.

        urgent: at once, past the queue, within 50 ms on a line that accepts bytes; may cut the message that is being
        written. An answer that comes all the same is not a reply: it goes to `messages()` or `receive()`.

        Raises LinkTimeout if the line takes no more, LinkLost, LinkClosed, LinkBusy. If cancelled before its first
        byte, nothing is sent; after it, the link still sends the rest.
        """
        check = self._extras.check
        if check is not None and not urgent:
            async with self.exchange(timeout=timeout, turn=turn) as talk:
                await talk.send(message)
                failure = await talk._check(check, message)
            if failure is not None:
                raise failure
            return
        body, raw = self._encode(message, "a message")
        if self._exchange is not None and not urgent:
            self._not_in_own_exchange()
        await self._wire.send(
            body, raw, bool(urgent), check_seconds(timeout, "timeout"), check_seconds(turn, "turn"), None
        )

    def _abort(self, abort: Message | Abort | None) -> tuple[_core.Abort, float] | None:
        """An abort for Rust, and the seconds that it may take."""
        if abort is None:
            return None
        whole = abort if isinstance(abort, Abort) else Abort(abort)
        body, raw = self._encode(whole.message, "an abort")
        reply, _ = as_pattern(whole.reply, "the reply of Abort", self._encoder.encoding)
        return self._wire.abort(body, raw, reply, whole.timeout), whole.timeout

    def _more(self, body: bytes, abort: Message | Abort | None, finish: bool, idempotent: bool) -> _core.More:
        """What a question carries besides its command."""
        match, made = self._extras.match, None if abort is None else self._abort(abort)
        known = None if match is None else match.id_of_command(body, self._encoder.encoding)
        return _core.More(known, self._accept, None if made is None else made[0], finish, idempotent)
