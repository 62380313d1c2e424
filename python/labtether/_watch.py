"""`lt.watch()`: everything that is alive, live in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from labtether import _core
from labtether._checks import check_span
from labtether._crowd import links, present
from labtether._live import Live, check_notebook
from labtether._tree import lifecycle_tree

if TYPE_CHECKING:
    from labtether._show.rates import Rates

__all__ = ["Watch", "watch"]

FASTEST = 0.05
"""Seconds; no eye follows more, and a browser should have something else to do."""


@final
class Watch(Live):
    """A live view of the lifecycle, from `lt.watch()`: `stop()` it, or `with` it, or await it."""

    __slots__ = ("_rates",)

    def __init__(self, every: float) -> None:
        from labtether._show.rates import Rates

        super().__init__(every, "labtether watch")
        self._rates: Rates = Rates()

    def _replaces(self, other: Live) -> bool:
        return isinstance(other, Watch)

    def _title(self) -> str:
        return "the watch of the lifecycle"

    def _forms(self) -> dict[str, Any]:
        from labtether._show.watching import watch_forms

        known = present(links)
        looks = self._rates.look(known, _core.monotonic())
        return watch_forms(repr(self), self.state, self._why, looks, lifecycle_tree())

    def __repr__(self) -> str:
        why = f": {self._why}" if self._why not in (None, self.state) else ""
        return f"<Watch {self.state}{why}, every {self._every:g} s>"


def watch(every: float = 0.5) -> Watch:
    """Show everything that is alive, in this cell and from now on: links with their states and rates, tasks with their
    situations, locks with who holds them.

    It goes on in the background until `stop()`; `with lt.watch(): ...` stops it with the block, and `await lt.watch()`
    keeps the cell busy until it is interrupted. There is one at a time: another one stops this one.

    every: seconds from one picture to the next, at least 0.05. Raises ValueError if it is less, RuntimeError outside
    notebooks: `print(lt.lifecycle.tree())` works everywhere.
    """
    seconds = check_span(every, "every")
    if seconds < FASTEST:
        raise ValueError(f"every is at least {FASTEST} s, not {every}")
    check_notebook("lt.watch()", "print(lt.lifecycle.tree())")
    return Watch(seconds)._show()
