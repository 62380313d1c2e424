"""What every link is and shows: its name, state and trace, its text and bytes, its end when it is forgotten."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Generic, TypeVar

from labtether import _core
from labtether._exchange import Exchange, current_task
from labtether._framing import Encoder, Framed, FramingLike, as_framing, encoder_of
from labtether._options import Extras
from labtether._shown import Shown
from labtether._trace import Trace
from labtether._values import Raw, TraceEvent

__all__ = ["Face", "Message", "calling_place", "is_interactive"]

M = TypeVar("M", str, bytes)

Message = str | bytes | Raw


class Face(Shown, Generic[M]):
    """The part of a link that only looks."""

    __slots__ = (
        "__weakref__",
        "_accept",
        "_by_command",
        "_described",
        "_encoder",
        "_exchange",
        "_extras",
        "_framing",
        "_made",
        "_name",
        "_shared",
        "_timeout",
        "_url",
        "_wire",
    )

    def __init__(
        self,
        wire: _core.Wire,
        *,
        name: str,
        url: str,
        described: str,
        timeout: float,
        framing: Framed | None,
        extras: Extras,
    ) -> None:
        self._wire = wire
        self._name = name
        self._url = url
        self._described = described
        self._timeout = timeout
        self._framing = framing
        self._made = _caller()
        self._encoder: Encoder = encoder_of(framing)
        self._extras = extras
        self._by_command = framing is not None and type(framing).for_command is not Framed.for_command
        """Whether how a reply ends depends on its command."""
        if extras.readying is not None and extras.readying.link is None:
            extras.readying.link = weakref.ref(self)  # type: ignore[arg-type]
        self._accept: _core.Pattern | None = None
        """Messages that are for this face; None: all are."""
        self._shared: weakref.WeakSet[Any] | None = None
        """The faces of one link that are set up; None where there is only this one."""
        self._exchange: weakref.ref[Exchange[M]] | None = None

    def __del__(self) -> None:
        try:
            forgotten = self._wire.state in ("open", "opening") and not self._shared
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
        """One of "closed", "opening", "open", "reconnecting", "lost", "closing"."""
        return self._wire.state

    @property
    def dropped(self) -> int:
        """How many unasked messages were dropped because nobody fetched them: of those that `receive()` is kept, the
        oldest goes when there are a thousand."""
        return self._wire.counts()[4]

    def trace(self) -> Trace:
        """The last events on the wire, oldest first; as many as the option `trace` says. A list; `print` it."""
        return Trace((TraceEvent(*row) for row in self._wire.trace()), self._name)

    def __repr__(self) -> str:
        exchanges, _written, _read, late, dropped, last = self._wire.counts()
        parts = [f"{exchanges} exchange{'' if exchanges == 1 else 's'}"] if exchanges else []
        if late:
            parts.append(f"{late} late repl{'y' if late == 1 else 'ies'} dropped")
        if dropped:
            parts.append(f"{dropped} unasked message{'' if dropped == 1 else 's'} dropped")
        if last is not None:
            parts.append(f"last {max(0.0, _core.monotonic() - last):.1f} s ago")
        return f"<Link {self._name} {self._described} {self.state}{', ' if parts else ''}{', '.join(parts)}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self._name} is a live connection and cannot be pickled; send its url ({self._url}) and make a link there"
        )

    def _encode(self, message: Message, what: str = "a command") -> tuple[bytes, bool]:
        if isinstance(message, Raw):
            return message.data, True
        if isinstance(message, bytes):
            return message, False
        return self._encoder.encode(message, what), False

    @property
    def _is_special(self) -> bool:
        """Whether a question carries more than its command."""
        return self._accept is not None or self._extras.match is not None or self._extras.check is not None

    def _parsed(self, message: Any, parse: Callable[[Any], Any]) -> Any:
        """`parse` of a message; a ValueError means that the message is bad."""
        try:
            return parse(message)
        except ValueError as error:
            heard = message if isinstance(message, bytes) else self._encoder.encode(message)
            failure = self._wire.unreadable(str(error), heard, None)
            try:
                raise failure from error
            finally:
                del failure

    def _framing_of(self, framing: FramingLike | None, body: bytes) -> tuple[Encoder, _core.Framing | None]:
        """How the reply to `body` ends, where that is not simply as the link's messages do."""
        given = self._framing if framing is None else as_framing(framing)
        if given is None:
            return self._encoder, None
        return encoder_of(given), given.for_command(body).core

    def _heard(self, body: bytes, encoder: Encoder) -> Any:
        """A message as this face gives it."""
        return encoder.decode(body)

    def _decoded(
        self, body: bytes, encoder: Encoder, parse: Callable[[Any], Any] | None, command: Message | None
    ) -> Any:
        try:
            message = self._heard(body, encoder)
            return message if parse is None else parse(message)
        except ValueError as error:
            asked = None if command is None else self._encode(command)[0]
            failure = self._wire.unreadable(str(error), body, asked)
            try:
                raise failure from error
            finally:
                # The frame must not keep the error that keeps the frame: a forgotten link would wait for the collector.
                del failure

    def _place(self) -> str:
        return calling_place(self._made)

    def _only_raw(self, method: str) -> None:
        if self._framing is not None:
            raise TypeError(
                f"{method}() is for links with framing=None; on {self._name} use query(), receive(), or an exchange"
            )

    def _not_in_own_exchange(self) -> None:
        exchange = None if self._exchange is None else self._exchange()
        if exchange is not None and exchange._task == current_task():
            raise RuntimeError(
                f"this task has an exchange open on {self._name}: use the methods of the exchange, such as talk.query()"
            )


def is_interactive() -> bool:
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


def calling_place(made: str | None = None) -> str:
    """Where the user's code stands, in words; where a runner called us directly: where it was made, if known."""
    here = _caller()
    return f"at {here}" if here is not None else "by a task" if made is None else f"(made at {made})"


_RUNNERS = frozenset({"asyncio", "anyio", "trio", "uvloop", "threading", "concurrent"})


def _root(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]
