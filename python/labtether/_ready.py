"""What a reconnected link does before anyone may ask: the user's async function, on a thread and a loop of its own."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labtether._link import Link

__all__ = ["Readying"]


class Readying:
    """Called by Rust, on a thread, when there is a new connection. Raises what went wrong."""

    __slots__ = ("function", "link")

    def __init__(self, function: Callable[[Any], Awaitable[object]]) -> None:
        self.function = function
        self.link: weakref.ref[Link[Any]] | None = None
        """Weak: what Rust holds must not keep the link from being forgotten."""

    def __call__(self) -> None:
        link = None if self.link is None else self.link()
        if link is not None:
            asyncio.run(self._ready(link._face_for_readying()))

    async def _ready(self, face: Link[Any]) -> None:
        await self.function(face)
