"""Failures of an Executor's work that nobody has looked at: no failure is silent (law 8)."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from labtether._until_done import Wait

if TYPE_CHECKING:
    from labtether._executor_pool import Pool

__all__ = ["Unheard", "logger", "looked_at_by", "shortened", "unheard"]

logger = logging.getLogger("labtether.executor")


class Unheard:
    """A failure that nobody has looked at yet. It dies with its future, and then says so in the log."""

    __slots__ = ("__weakref__", "error", "name", "pool")

    def __init__(self, error: BaseException, name: str, pool: Pool) -> None:
        self.error: BaseException | None = error
        self.name = name
        self.pool = pool
        _unheard[id(self)] = weakref.ref(self)

    def take(self) -> BaseException | None:
        """Somebody looks. None: somebody else already did."""
        error, self.error = self.error, None
        return error

    def tell(self) -> BaseException | None:
        """Write it down for lack of anybody who looks."""
        if (error := self.take()) is not None:
            logger.error("%s: nobody looked at the failure of %s: %r", self.pool.name, self.name, error, exc_info=error)
        return error

    def __del__(self) -> None:
        if self.error is not None:
            self.pool.orphans.append(self.error)
            self.tell()
        _unheard.pop(id(self), None)


# By identity, not a WeakSet: workers add to it while others list it, and each of these steps is one call into C.
_unheard: dict[int, weakref.ref[Unheard]] = {}


def unheard() -> list[Unheard]:
    """All failures of all executors that nobody has looked at and whose futures are alive."""
    return [one for ref in list(_unheard.values()) if (one := ref()) is not None]


def shortened(error: BaseException) -> BaseException:
    """Without our own frames at its top: they refer to the future, which refers to the error."""
    traceback = error.__traceback__
    return error.with_traceback(None if traceback is None else traceback.tb_next)


def looked_at_by(callbacks: list[Callable[..., object]] | None) -> bool:
    """A task that waits looks by `result()`, when its turn comes."""
    return callbacks is not None and not all(isinstance(callback, Wait) for callback in callbacks)
