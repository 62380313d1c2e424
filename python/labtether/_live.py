"""Pictures in a notebook that are drawn anew in place: what `lt.watch()` and `link.watch()` have in common.

# Invariants
1. A picture is drawn by one thread of its own and by nobody else, so that it lives while a cell blocks the loop.
2. That thread never prints. What it cannot draw ends it, and is in the log once.
3. The last picture says that it is the last, whatever ended it.
"""

from __future__ import annotations

import abc
import logging
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from labtether import _core
from labtether._engine import ensure_started
from labtether._errors import CleanupTimeout

__all__ = ["Live", "check_notebook"]

_log = logging.getLogger("labtether.watch")

PATIENCE = 2.0
"""Seconds that the end of a picture may take: the last drawing, and sending it to the browser."""

AT_EXIT = 0.5
"""The same while the process ends."""


class Live(abc.ABC):
    """A picture that is drawn anew until it is stopped: by `stop()`, by the end of its `with` block, or by the
    interruption of the cell that awaits it."""

    __slots__ = ("__weakref__", "_cell", "_ending", "_error", "_every", "_handle", "_lock", "_over", "_thread", "_why")

    def __init__(self, every: float, name: str) -> None:
        self._every = every
        self._error: BaseException | None = None
        self._ending = threading.Event()
        self._over = _core.Event(name)
        """Set when the last picture has been drawn."""
        self._why: str | None = None
        """Why it ends, in words; None while it goes on."""
        self._lock = threading.Lock()
        self._cell: int | None = None
        self._handle: Any = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)
        """In the context of its cell: a kernel sends what is shown there to that cell."""

    @property
    def state(self) -> str:
        """ "live", "stopped" or "failed"."""
        if self._error is not None:
            return "failed"
        return "live" if self._why is None else "stopped"

    @property
    def error(self) -> BaseException | None:
        """What ended it; None if it goes on or was stopped."""
        return self._error

    def stop(self) -> None:
        """End it, with a last picture that says so. From anywhere; twice is fine.

        Raises CleanupTimeout if the notebook does not take the last picture within two seconds.
        """
        self._end("stopped")
        if not self._is_own_thread() and self._thread.ident is not None:
            self._thread.join(PATIENCE)
            if self._thread.is_alive():
                raise CleanupTimeout(f"{self!r} is still being drawn", stuck=[self._thread.name])

    def _is_own_thread(self) -> bool:
        """Whether a thread of its own runs this, which cannot wait for its own end."""
        return self._thread is threading.current_thread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __await__(self) -> Generator[Any, Any, None]:
        """Go on until it is stopped. Raises the error that ended it. If cancelled, as the Stop button does, it is
        stopped, and the cancellation goes on."""
        return self._until_over().__await__()

    async def _until_over(self) -> None:
        try:
            await self._over.wait()
        except BaseException as error:
            self._end("interrupted")
            try:
                self.stop()
            except CleanupTimeout as stuck:
                error.add_note(f"labtether: {stuck}")
            raise
        if self._error is not None:
            raise self._error

    def _show(self) -> Self:
        """Show it from now on, in the place of those that it replaces."""
        with _turn:
            for one in list(_showing):
                if self._replaces(one):
                    one._end("another one took over")
            self._begin()
        return self

    def _begin(self) -> None:
        from IPython.display import display

        ensure_started()
        self._cell = _cell()
        self._handle = display(self._forms(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        _showing[self] = None
        _stop_at_exit()
        self._thread.start()

    def _end(self, why: str) -> None:
        with self._lock:
            if self._why is None:
                self._why = why
        self._ending.set()

    def _fail(self, error: BaseException, what: str) -> None:
        with self._lock:
            first = self._error is None
            if first:
                self._error = error
                self._why = self._why or "failed"
        self._ending.set()
        if first:
            # Its text alone: whoever keeps the record must not keep the frames of what is looked at.
            _log.error("%s %s: %s: %s", self._title(), what, type(error).__name__, error)

    def _run(self) -> None:
        """The thread."""
        try:
            while not self._ending.wait(self._every):
                if self._is_news():
                    self._draw(self._forms)
            self._let_go()
            if not self._draw(self._forms):
                self._draw(self._epitaph)
        finally:
            _showing.pop(self, None)
            self._over.set()

    def _draw(self, forms: Callable[[], dict[str, Any]]) -> bool:
        """Draw it; whether that could be done."""
        try:
            self._handle.update(forms(), raw=True)
        except Exception as error:
            self._fail(error, "could not be drawn, and has ended")
            return False
        return True

    def _epitaph(self) -> dict[str, Any]:
        """The last picture of one that cannot be drawn."""
        from labtether._show.blocks import card, heading, problem_line

        html = card(heading("watch", self._title(), "failed"), problem_line(f"it could not be drawn: {self._error!r}"))
        return {"text/plain": f"{self._title()} could not be drawn: {self._error!r}", "text/html": str(html)}

    def _ipython_display_(self) -> None:
        """As a cell's last value: in its own cell it is there already."""
        if _cell() != self._cell:
            from IPython.display import display

            display(self._forms(), raw=True)  # type: ignore[no-untyped-call]

    def _let_go(self) -> None:
        """End what it looks at, before the last picture."""
        return

    def _is_news(self) -> bool:
        """Whether there is anything new to draw."""
        return True

    @abc.abstractmethod
    def _replaces(self, other: Live) -> bool:
        """Whether it is what `other` is: of a cell that is run again, one picture goes on."""

    @abc.abstractmethod
    def _title(self) -> str:
        """What it is a picture of."""

    @abc.abstractmethod
    def _forms(self) -> dict[str, Any]:
        """The picture as it is now, by MIME type."""


def check_notebook(what: str, instead: str) -> None:
    """Raises RuntimeError, with what to do instead, where no picture can be changed in place."""
    shell = _shell()
    if shell is None:
        raise RuntimeError(f"{what} draws in a notebook, and no IPython runs here; instead: {instead}")
    from IPython.core.displaypub import DisplayPublisher

    if type(shell.display_pub) is DisplayPublisher:
        # It would print each picture below the last one, from a thread.
        raise RuntimeError(f"{what} draws in a notebook, and a terminal cannot change a picture; instead: {instead}")


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _cell() -> int | None:
    shell = _shell()
    return None if shell is None else shell.execution_count


_showing: dict[Live, None] = {}
"""Those that go on."""

_turn = threading.Lock()
_registered: list[bool] = []


def _stop_at_exit() -> None:
    if not _registered:
        _registered.append(True)
        # Registered after the engine's own hook, and so called before it: the links are still there to be looked at.
        threading._register_atexit(_stop_all)  # type: ignore[attr-defined]


def _stop_all() -> None:
    pictures = list(_showing)
    for one in pictures:
        one._end("the process ended")
    for one in pictures:
        with suppress(RuntimeError):
            one._thread.join(AT_EXIT)
