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

__all__ = ["in_trio_task", "wait"]

_port: RunVar[_core.Port] = RunVar("labtether port")


class _Sleeper:
    """A task of this run that waits to be rung."""

    __slots__ = ("rung", "task")

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.rung = False

    def ring(self) -> None:
        # Never twice: the deadline of a cancellation and the answer to it may come together.
        if not self.rung:
            self.rung = True
            reschedule(self.task)


def _running_port() -> _core.Port:
    try:
        return _port.get()
    except LookupError:
        port = _core.Port()
        _port.set(port)
        trio.lowlevel.spawn_system_task(_pump, port, name="labtether port")
        return port


async def _pump(port: _core.Port) -> None:
    """Resume the waits that Rust rings for, until the run ends."""
    try:
        try:
            while True:
                await trio.lowlevel.wait_readable(port.fileno())
                port.drain()
        finally:
            # Cancelled with the run; but a wait that is not over yet must still be rung.
            with trio.CancelScope(shield=True):
                while port.pending():
                    await trio.lowlevel.wait_readable(port.fileno())
                    port.drain()
    finally:
        trio.lowlevel.notify_closing(port.fileno())
        port.close()


async def wait(operation: _core.Operation) -> Any:
    """Await `operation`: once its work has begun, the wait ends only when it has ended, or CANCEL_TIMEOUT after it was
    told to."""
    if not operation.shielded:
        await checkpoint_if_cancelled()
    port = _running_port()
    if operation.poll_in(port):
        await trio.lowlevel.cancel_shielded_checkpoint()
        return operation.result()
    told: Callable[[], NoReturn] | None = None
    patience = _Patience(port, operation.key)

    def abort(raise_cancel: Callable[[], NoReturn]) -> Abort:
        nonlocal told
        if told is None:
            told = raise_cancel
            operation.cancel()
            trio.lowlevel.spawn_system_task(patience.run, name="labtether cancel timeout")
        return Abort.FAILED

    while not operation.settled() and not patience.over:
        port.register(operation.key, _Sleeper(current_task()))
        await wait_task_rescheduled(abort)
    patience.scope.cancel()
    if told is None:
        return operation.result()
    try:
        told()
    except BaseException as cancelled:
        annotate(operation, cancelled)
        raise
    finally:
        operation.close()


class _Patience:
    """Rings for a cancelled wait when Rust has had its time."""

    def __init__(self, port: _core.Port, key: int) -> None:
        self.port = port
        self.key = key
        self.scope = trio.CancelScope()
        self.over = False

    async def run(self) -> None:
        with self.scope:
            await trio.sleep(_core.CANCEL_TIMEOUT)
            self.over = True
            self.port.ring(self.key)
