"""Code that blocks, on a thread of its own, inside the scope."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import anyio

from labtether import _core
from labtether._checks import check_name, check_seconds
from labtether._engine import ensure_started
from labtether._errors import CleanupTimeout
from labtether._log import stuck_log
from labtether._nursery import innermost
from labtether._outcome import Kept

__all__ = ["run_sync"]

P = ParamSpec("P")
T = TypeVar("T")


async def run_sync(
    fn: Callable[..., T],
    *args: Any,
    timeout: float | None = None,
    cancel_timeout: float = _core.CANCEL_TIMEOUT,
    name: str | None = None,
) -> T:
    """Run `fn(*args)`, which may block, on a worker thread, and return its value. The thread is in the census under
    `name`, in the nursery around this call.

    timeout: seconds that it may take; then CleanupTimeout names it, since a thread cannot be stopped. cancel_timeout:
    seconds that it may still take when this await is cancelled; the cancellation goes on when it has ended, or
    then. A thread that still runs when its nursery ends is named by the CleanupTimeout that the nursery raises.
    """
    if not callable(fn):
        raise TypeError(f"run_sync takes a function and its arguments, not {type(fn).__name__}")
    limit = check_seconds(timeout, "timeout")
    patience = check_seconds(cancel_timeout, "cancel_timeout") or 0.0
    label = check_name(name, "name") if name is not None else f"run_sync {getattr(fn, '__qualname__', repr(fn))}"
    if _core.is_blocking():
        return fn(*args)
    ensure_started()
    nursery = innermost()
    worker = _Worker(label, fn, args, None if nursery is None else nursery._supervisor)
    try:
        with anyio.move_on_after(limit):
            await worker.done.wait()
    except BaseException as error:
        with anyio.CancelScope(shield=True), anyio.move_on_after(patience):
            await worker.done.wait()
        if not worker.done.is_set():
            error.add_note(_left_behind(worker, patience, nursery))
        raise
    if not worker.done.is_set():
        note = _left_behind(worker, limit or 0.0, nursery)
        raise CleanupTimeout(f"{label} did not end within {limit:g} s, and cannot be stopped", stuck=[note])
    value: T = worker.kept.fetch()
    return value


def _left_behind(worker: _Worker, seconds: float, nursery: Any) -> str:
    from labtether._tree import lifecycle_tree

    tree = str(lifecycle_tree() if nursery is None else nursery.tree())
    if nursery is not None:
        nursery._threads.append(worker)
    stuck_log(f"thread {worker.label!r}", seconds, tree)
    return f"labtether: thread {worker.label!r} still runs, {seconds:.3g} s after it should have ended"


class _Worker:
    """One call on one thread."""

    __slots__ = ("begins", "done", "kept", "label")

    def __init__(
        self, label: str, fn: Callable[..., Any], args: tuple[Any, ...], supervisor: _core.Supervisor | None
    ) -> None:
        self.label = label
        self.done = _core.Event(label)
        self.kept = Kept()
        # Between this thread and the one that is not there yet, virtual time must not slip away.
        self.begins = _core.Busy()
        living = _core.Living(label, supervisor)
        context = contextvars.copy_context()
        # A daemon: what does not end must not keep the process from ending.
        thread = threading.Thread(target=self._run, args=(context, fn, args, living), name=label, daemon=True)
        try:
            thread.start()
        except BaseException:
            self.begins.end()
            living.end()
            raise

    def _run(
        self, context: contextvars.Context, fn: Callable[..., Any], args: tuple[Any, ...], living: _core.Living
    ) -> None:
        _core.work_here()
        self.begins.end()
        try:
            self.kept.value = context.run(fn, *args)
        except BaseException as error:
            self.kept.error = error
        finally:
            living.end()
            self.done.set()
