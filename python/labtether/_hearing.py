"""What a link says that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from labtether import _core
from labtether._checks import check_count, check_seconds
from labtether._framing import PatternLike, as_pattern
from labtether._line import Line
from labtether._patterns import matcher
from labtether._streams import Messages

__all__ = ["Hearing"]

M = TypeVar("M", str, bytes)


class Hearing(Line[M]):
    """The part of a link that listens."""

    __slots__ = ()

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
        if match is not None and self._accept is not None:
            # On a face the address is no part of the message.
            function = matcher(match)
        if function is not None:
            return await self._receive_by(function, self._timeout if limit is None else limit)
        message: M = self._decoded(
            await self._wire.receive(pattern, None, self._accept, limit, None), self._encoder, None, None
        )
        return message

    async def _receive_by(self, function: Callable[[M], object], limit: float) -> M:
        deadline = _core.monotonic() + limit
        unwanted: list[bytes] = []
        try:
            while True:
                left = max(0.0, deadline - _core.monotonic())
                body: bytes = await self._wire.receive(None, None, self._accept, left, None)
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
        if self._accept is not None:
            # Rust picks those that are for this face; what is in them is looked at here.
            function = matcher(pattern)
            compiled = self._accept
        room = check_count(capacity, "capacity")
        return Messages(cast(Any, self), lambda: self._wire.messages(compiled, room), function)
