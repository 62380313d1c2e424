"""What labtether does after each cell of IPython, in notebooks and terminals: it ends a cell that Ctrl-C left pending,
and says once what has failed in the background. Imported only where IPython is."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from labtether import _core
from labtether._await import settling
from labtether._errors import LinkLost
from labtether._face import Face

__all__ = ["attach", "tell_later", "told", "watch"]

LOOK = 0.05
"""Seconds between two looks at the clock while an interrupted cell ends."""

_shells: weakref.WeakSet[Any] = weakref.WeakSet()
_links: weakref.WeakSet[Face[Any]] = weakref.WeakSet()
"""Links that were open when last looked at."""
_untold: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def attach() -> bool:
    """Be called after each cell of the shell that is there; whether one is. Any number of times."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return False
    if shell not in _shells:
        _shells.add(shell)
        cells = _Cells(shell)
        shell.events.register("pre_run_cell", cells.before)
        shell.events.register("post_run_cell", cells.after)
    return True


def watch(link: Face[Any]) -> None:
    """Say after a cell if `link`, which is open now, has been lost."""
    if attach():
        with _lock:
            _links.add(link)


def tell_later(key: object, text: str) -> None:
    """Say `text` once after the next cell, unless `told(key)` is called before, or `key` is gone. From any thread."""
    with _lock:
        _untold[key] = text


def told(key: object) -> None:
    """What was to be told of `key`, which may be a link, has been raised to the user. From any thread."""
    with _lock:
        _untold.pop(key, None)
        if isinstance(key, Face):
            _links.discard(key)


class _Cells:
    """The two callbacks of one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = weakref.ref(shell)
        self._given_up: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def before(self, _cell: object = None) -> None:
        """A cell that an interrupt of its own clean-up left pending is not run along with the next one."""
        self._end_abandoned()

    def after(self, result: Any = None) -> None:
        """`result`: how the cell ended; None where it was cancelled before it could."""
        self._end_abandoned()
        # A cell of a subshell runs in another thread, and its output is seldom seen.
        if threading.current_thread() is threading.main_thread():
            for text in _news(getattr(result, "error_in_exec", None)):
                print(f"labtether: {text}", file=sys.stderr)

    def _end_abandoned(self) -> None:
        """Terminal IPython leaves its loop on Ctrl-C and the cell's task pending: it would hold its instrument, and go
        on with the next cell that awaits. It is cancelled here, and waited for."""
        loop = _loop_between_cells()
        shell = self._shell()
        if loop is None or shell is None:
            return
        current = asyncio.current_task(loop)
        for task in asyncio.all_tasks(loop):
            if task is current or not _is_a_cell(task) or task in self._given_up:
                continue
            if loop.is_running():
                task.cancel()
                continue
            # An interrupt that comes out ended a clean-up that blocked: it has done what it was meant to do.
            with suppress(KeyboardInterrupt), _as_one_line(shell), _deaf_for_a_while() as is_time_up:
                _end(loop, task, is_time_up)
            if not task.done():
                self._given_up.add(task)
                print(
                    f"labtether: the cell did not end within {_core.CANCEL_TIMEOUT:g} s of Ctrl-C; "
                    "it goes on with the next cell that awaits",
                    file=sys.stderr,
                )


def _loop_between_cells() -> asyncio.AbstractEventLoop | None:
    """The loop that terminal IPython runs for a cell that awaits and leaves after it; None in a kernel, whose loop goes
    on."""
    from IPython.core import async_helpers

    # Its only name. Where a later IPython has none, its terminal is as it was.
    loop: asyncio.AbstractEventLoop | None = getattr(async_helpers, "_asyncio_event_loop", None)
    return None if loop is None or loop.is_closed() else loop


def _is_a_cell(task: asyncio.Task[Any]) -> bool:
    return getattr(task.get_coro(), "__name__", "") == "run_cell_async"


def _end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], is_time_up: Callable[[], bool]) -> None:
    """Cancel `task` and run its loop until it has ended, or has had its time."""

    def stop(_task: asyncio.Task[Any]) -> None:
        loop.stop()

    task.add_done_callback(stop)
    task.cancel()
    try:
        while not task.done() and not is_time_up():
            look = loop.call_later(LOOK, loop.stop)
            try:
                loop.run_forever()
            finally:
                look.cancel()
    finally:
        # Left behind, it would stop the loop in the middle of a later cell.
        task.remove_done_callback(stop)


@contextmanager
def _deaf_for_a_while() -> Iterator[Callable[[], bool]]:
    """Ctrl-C changes nothing for as long as a cancellation may take, and interrupts as ever after that. Gives whether
    that time is up."""
    give_up = time.monotonic() + _core.CANCEL_TIMEOUT

    def is_time_up() -> bool:
        # What waits for Rust has a time limit of its own, that of its abort included.
        return time.monotonic() > give_up and not settling

    def interrupted(number: int, frame: FrameType | None) -> None:
        if is_time_up():
            signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield is_time_up
        return
    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield is_time_up
    finally:
        # None: it was not Python's.
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)


@contextmanager
def _as_one_line(shell: Any) -> Iterator[None]:
    """A traceback of the interrupt is on the screen already: the cancellation shows only what became of the work."""

    def show(_shell: Any, _kind: Any, error: BaseException, _traceback: Any, tb_offset: int | None = None) -> None:
        for note in getattr(error, "__notes__", ()):
            print(note, file=sys.stderr)

    before = shell.custom_exceptions, shell.CustomTB
    shell.set_custom_exc((asyncio.CancelledError,), show)
    try:
        yield
    finally:
        shell.custom_exceptions, shell.CustomTB = before


def _news(raised: BaseException | None) -> Iterator[str]:
    """What has failed in the background and was not told yet; `raised` was told by the cell itself."""
    seen = {error.port for error in _all_of(raised) if isinstance(error, LinkLost)}
    with _lock:
        links, texts = list(_links), list(_untold.values())
        _untold.clear()
    for link in sorted(links, key=lambda link: link.name):
        error = link._wire.lost() if link.state == "lost" else None
        if link.state in ("lost", "closed"):
            with _lock:
                _links.discard(link)
        # Faces of one link (`at`) are lost together, and told of once.
        if isinstance(error, LinkLost) and error.port not in seen:
            seen.add(error.port)
            yield _told_of(link, error)
    yield from texts


def _told_of(link: Face[Any], error: LinkLost) -> str:
    events = [event for event in link.trace() if event.direction == "!" and event.note.startswith("lost: ")]
    if not events:  # the link keeps no trace
        return f"{error}"
    ago = _core.monotonic() - events[-1].monotonic
    return f"{link.name} ({error.port}) was lost {ago:.1f} s ago: {events[-1].note.removeprefix('lost: ')}"


def _all_of(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, what it groups and what led to it."""
    todo, known = [error], set[int]()
    while todo:
        one = todo.pop()
        if one is None or id(one) in known:
            continue
        known.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
