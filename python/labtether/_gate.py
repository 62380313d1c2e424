"""Who may still start in a nursery: nothing is accepted and then forgotten, from whatever thread it comes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from labtether._home import Home

__all__ = ["Gate"]


@final
class Gate:
    """Counts the ordinary children. Once the block has been left and the last of them has ended, nobody is let in."""

    __slots__ = ("_inside", "_leaving", "_lock", "is_open")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._leaving = False
        self.is_open = False

    def admit(self) -> bool:
        """One more, if it is not too late: then the nursery waits for it."""
        with self._lock:
            self._inside += self.is_open
            return self.is_open

    def leave(self, home: Home) -> None:
        """The block has been left."""
        self._leaving = True
        self.gone(home, 0)

    def gone(self, home: Home, ended: int = 1) -> None:
        """So many have ended; what was posted before comes first. Called in the nursery's loop."""
        while True:
            with self._lock:
                if home.is_caught_up:
                    self._inside -= ended
                    if self._leaving and self._inside == 0:
                        self.is_open = False
                    return
            home.catch_up()

    def close(self) -> None:
        """Nobody is let in any more."""
        with self._lock:
            self.is_open = False
