"""How a piece of work ended, as a value: `Ok`, `Failed` or `Cancelled`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NoReturn, TypeVar

import anyio

from labtether._shown import Shown

__all__ = ["Cancelled", "Failed", "Kept", "Ok", "Outcome"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Effect = tuple[str, "bytes | None", str]
"""The link's name, the command (None where there was none), and what the instrument did."""


@dataclass(frozen=True, slots=True)
class Ok(Shown, Generic[T_co]):
    """It returned `value`. elapsed: seconds from its start to its end."""

    value: T_co
    elapsed: float = field(default=0.0, kw_only=True, compare=False)

    def unwrap(self) -> T_co:
        """The value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Failed(Shown):
    """It raised `error`. elapsed: seconds from its start to its end."""

    error: BaseException
    elapsed: float = field(default=0.0, kw_only=True, compare=False)

    def unwrap(self) -> NoReturn:
        """Raises the error."""
        raise self.error


@dataclass(frozen=True, slots=True)
class Cancelled(Shown):
    """It was cancelled.

    reason: why, in words. effects: what became of each exchange that was cut short: (link, command, effect), where
    effect is one of "never_started", "halted", "halted_at_boundary", "ran_to_completion", "unconfirmed". elapsed:
    seconds from its start to its end.
    """

    reason: str = ""
    effects: tuple[Effect, ...] = ()
    elapsed: float = field(default=0.0, kw_only=True, compare=False)

    @property
    def effect(self) -> Literal["never_started", "halted", "halted_at_boundary", "ran_to_completion", "unconfirmed"]:
        """The one to act on: the least certain of all effects; "never_started" if nothing was cut short."""
        known: Any = max((effect for _, _, effect in self.effects), key=_GRAVITY.index, default="never_started")
        return known  # type: ignore[no-any-return]

    def unwrap(self) -> NoReturn:
        """Raises anyio.TaskCancelled with the reason."""
        raise anyio.TaskCancelled(self.reason)


class Kept:
    """What a piece of work came to, kept for the one who fetches it, once."""

    __slots__ = ("error", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def fetch(self) -> Any:
        """The value. Raises the error."""
        error, self.error = self.error, None
        if error is None:
            return self.value
        try:
            raise error
        finally:
            # The frame must not keep the error that keeps the frame.
            del error


_GRAVITY = ["never_started", "ran_to_completion", "halted_at_boundary", "halted", "unconfirmed"]

Outcome = Ok[T] | Failed | Cancelled
