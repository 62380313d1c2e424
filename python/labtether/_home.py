"""The loop in which something lives: what is asked for from another loop or thread is posted there."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import final

from labtether import _core

__all__ = ["Home"]


@final
class Home:
    """The loop that runs where this was made. `key`: what Rust rings when it wants something; then, and after
    everything that was posted, `rung` is called in the loop."""

    __slots__ = ("__weakref__", "_key", "_loop", "_posted", "_rung", "_thread", "port")

    def __init__(self, key: int, rung: Callable[[], None]) -> None:
        self._key = key
        self._rung = weakref.WeakMethod(rung)
        self._posted: deque[Callable[[], None]] = deque()
        self._thread = threading.get_ident()
        self._loop = None if _core.in_trio() else asyncio.get_running_loop()
        self.port = _port()
        self.port.attend(key, self)

    def is_here(self) -> bool:
        """Whether this code runs in that loop."""
        if threading.get_ident() != self._thread:
            return False
        return _core.in_trio() if self._loop is None else asyncio._get_running_loop() is self._loop

    def do(self, act: Callable[[], None]) -> None:
        """Do it in the loop: now if that runs here, else as soon as it can."""
        if self.is_here():
            act()
        else:
            self.post(act)

    def post(self, act: Callable[[], None]) -> None:
        """Do it in the loop, as soon as that can."""
        self._posted.append(act)
        self.port.ring(self._key)

    @property
    def is_caught_up(self) -> bool:
        """Whether nothing was posted that is still to be done."""
        return not self._posted

    def catch_up(self) -> None:
        """Do what was posted."""
        while self._posted:
            self._posted.popleft()()

    def ring(self) -> None:
        """Called in the loop, by the port."""
        self.catch_up()
        rung = self._rung()
        if rung is not None:
            rung()

    soon = ring

    def leave(self) -> None:
        """Nothing is rung any more."""
        self.port.dismiss(self._key)


def _port() -> _core.Port:
    if _core.in_trio():
        from labtether._trio import running_port

        return running_port()
    from labtether._ports import port_of

    return port_of(asyncio.get_running_loop())
