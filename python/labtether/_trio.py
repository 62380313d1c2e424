"""Awaiting an operation in trio: its own delayed-cancel protocol, which needs nothing invented. Imported only once
trio is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import trio
from trio.lowlevel import (
    Abort,
    RunVar,
    checkpoint_if_cancelled,
    current_task,
    in_trio_task,
    reschedule,
    wait_task_rescheduled,
)

from labtether import _core
from labtether._await import annotate

__all__ = ["in_trio_task", "running_port", "wait", "wait_sheltered", "watch_ends"]

_port: RunVar[_core.Port | None] = RunVar("labtether port")


_is_ending: RunVar[bool] = RunVar("labtether port is ending", default=False)


def _no_longer_waits() -> None:
    """Somebody does not wait any more whom the pump has not rung. At the end of a run, when it waits for the last of
    them, it has to look again."""
    if _is_ending.get():
        port = _port.get()
        if port is not None:
            port.ring(0)


class _Ends(trio.abc.Instrument):
    """Tells when a task has ended: the main one is in a cycle, and would be known to have gone only when that is
    collected."""

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        _core.task_ended(task)


_ends = _Ends()


def watch_ends() -> None:
    """From now on this run tells when its tasks end. Any number of times."""
    trio.lowlevel.add_instrument(_ends)


class _Sleeper:
    """A task of this run that waits to be rung."""

    __slots__ = ("rung", "task")

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.rung = False

    def soon(self) -> None:
        self.ring()
        _no_longer_waits()

    def ring(self) -> None:
        # Never twice: the deadline of a cancellation and the answer to it may come together.
        if not self.rung:
            self.rung = True
            reschedule(self.task)


def _running_port() -> _core.Port | None:
    """The port of this run; None where the run is ending and has no system tasks any more."""
    try:
        return _port.get()
    except LookupError:
        port = _core.Port()
        port.serve_trio()
        try:
            trio.lowlevel.spawn_system_task(_pump, port, name="labtether port")
        except RuntimeError:
            _port.set(None)
            return None
        _port.set(port)
        if _core.virtual_seconds() is not None:
            from labtether.testing._virtual_trio import attach

            attach(port)
        return port


def running_port() -> _core.Port:
    """The port of this run. Raises RuntimeError where the run is ending."""
    port = _running_port()
    if port is None:
        raise RuntimeError("this trio run is ending: nothing can be started in it any more")
    return port


async def _ring(port: _core.Port) -> None:
    await trio.lowlevel.wait_readable(port.fileno())
    ready: list[_Sleeper] = []
    port.take(ready)
    for sleeper in ready:
        sleeper.ring()


async def _pump(port: _core.Port) -> None:
    """Resume the waits that Rust rings for, until the run ends."""
    try:
        try:
            while True:
                await _ring(port)
        finally:
            # Cancelled with the run; but a wait that is not over yet must still be rung.
            _is_ending.set(True)
            with trio.CancelScope(shield=True):
                while port.pending():
                    await _ring(port)
    finally:
        _port.set(None)
        trio.lowlevel.notify_closing(port.fileno())
        port.close()


@trio.lowlevel.enable_ki_protection
async def wait(operation: _core.Operation) -> Any:
    """Await `operation`. Once begun, the wait ends only when the work has, or CANCEL_TIMEOUT after it was told to."""
    if not operation.shielded:
        await checkpoint_if_cancelled()
    port = _running_port()
    if port is None:
        return await _wait_alone(operation)
    if operation.poll_in(port):
        # Nobody may come between the claim of a read and its return, or two readers could swap their bytes.
        if not operation.ordered:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return operation.result()
    leaving: _Leaving | None = None

    def abort(raise_cancel: Callable[[], NoReturn]) -> Abort:
        nonlocal leaving
        if leaving is None:
            operation.cancel()
            if operation.settled():
                # Nobody may ring for it any more: the task is about to wait for something else.
                port.forget(operation.key)
                _no_longer_waits()
                return Abort.SUCCEEDED
            leaving = _Leaving(operation, port, raise_cancel)
        return Abort.FAILED

    task = current_task()
    while not operation.settled() and (leaving is None or leaving.has_patience):
        port.register(operation.key, _Sleeper(task))
        try:
            await wait_task_rescheduled(abort)
        except BaseException as cancelled:
            annotate(operation, cancelled)
            operation.close()
            raise
    if leaving is None:
        return operation.result()
    leaving.scope.cancel()
    try:
        leaving.raise_cancel()
    except BaseException as cancelled:
        annotate(operation, cancelled)
        raise
    finally:
        operation.close()


async def wait_sheltered(operation: _core.Operation) -> Any:
    """The same for what parks an instrument: a scope inside its lifespan, cancelled because its child failed, does not
    keep it from that."""
    with trio.CancelScope(shield=True):
        return await wait(operation)


async def _wait_alone(operation: _core.Operation) -> Any:
    """The same at the very end of a run, when no system task can resume anybody: the task watches for itself."""
    port = _core.Port()
    try:
        if operation.poll_in(port):
            return operation.result()
        try:
            await _watch(operation, port)
        except BaseException as cancelled:
            operation.cancel()
            with trio.CancelScope(shield=True), trio.move_on_after(_core.CANCEL_TIMEOUT + operation.patience):
                await _watch(operation, port)
            annotate(operation, cancelled)
            raise
        return operation.result()
    finally:
        trio.lowlevel.notify_closing(port.fileno())
        operation.close()


async def _watch(operation: _core.Operation, port: _core.Port) -> None:
    while not operation.settled():
        await trio.lowlevel.wait_readable(port.fileno())
        port.take([])


class _Leaving:
    """A wait that was cancelled, and told: rings for the wait when Rust has had its time."""

    __slots__ = ("has_patience", "key", "patience", "port", "raise_cancel", "scope")

    def __init__(self, operation: _core.Operation, port: _core.Port, raise_cancel: Callable[[], NoReturn]) -> None:
        self.port = port
        self.key = operation.key
        self.raise_cancel = raise_cancel
        self.scope = trio.CancelScope()
        self.patience = operation.patience
        self.has_patience = True
        # Not at once: this is called while trio goes through the tasks that it cancels, and at the end of a run those
        # are the system's, to which one more must not be added under its hands.
        trio.lowlevel.current_trio_token().run_sync_soon(self._begin)

    def _begin(self) -> None:
        try:
            trio.lowlevel.spawn_system_task(self._count, name="labtether cancel timeout")
        except (RuntimeError, trio.TrioInternalError):
            # The run is ending: nobody is left to count the time but Rust, which answers long before.
            self.port.ring(self.key)

    async def _count(self) -> None:
        with self.scope:
            await trio.sleep(_core.CANCEL_TIMEOUT + self.patience)
            self.has_patience = False
            self.port.ring(self.key)
