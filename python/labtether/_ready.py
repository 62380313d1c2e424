"""What a reconnected link does before anyone may ask: the user's async function, on a thread and a loop of its own."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from labtether import _core

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
        if link is None:
            return
        face, raised = link._face_for_readying(), list[BaseException]()
        # A thread that Python made: one of Rust's that asks who it is stays in Python's list of threads for ever. For
        # the same reason it is not joined.
        over = threading.Event()

        # The clock of a test waits for the thread that does it, not for this one.
        begins = _core.Busy()

        def run() -> None:
            _core.work_here()
            begins.end()
            try:
                asyncio.run(self._ready(face))
            except BaseException as error:
                raised.append(error)
            finally:
                over.set()

        thread = threading.Thread(target=run, name=f"labtether ready {link.name}", daemon=True)
        del link
        thread.start()
        _core.rest_here()
        over.wait()
        while thread.is_alive():
            time.sleep(0.001)
        if raised:
            raise raised[0]

    async def _ready(self, face: Link[Any]) -> None:
        await self.function(face)
