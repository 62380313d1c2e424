"""Who there is, known by weak reference only: looked at from any thread while others come and go."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from labtether._link import Link

__all__ = ["links", "present"]

T = TypeVar("T")

links: weakref.WeakSet[Link[Any]] = weakref.WeakSet()
"""Every link that somebody has, closed ones too."""


def present(crowd: Iterable[T]) -> list[T]:
    """Everybody who is there now; `crowd` knows them weakly."""
    while True:
        try:
            return list(crowd)
        except RuntimeError:
            # Somebody came meanwhile, on another thread: a WeakSet tells by failing. The next look is another one.
            continue
