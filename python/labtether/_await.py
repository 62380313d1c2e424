"""The second phase of an await: after a cancellation, until Rust has ended. Called by `Operation.throw`, in an asyncio
task."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from labtether import _core
from labtether._strand import current_strand

if TYPE_CHECKING:
    import anyio

__all__ = ["annotate", "is_anyios", "settle", "settling"]

settling: set[_core.Operation] = set()
"""Those that were cancelled and are waited for; each for a limited time."""


@types.coroutine
def settle(operation: _core.Operation, error: BaseException) -> Generator[Any, Any, Any]:
    """Ask Rust to stop, wait until it has (at most CANCEL_TIMEOUT and its patience), then raise `error`, with a note on
    what became of the work.

    A second cancellation is kept and changes nothing: the wait goes on.
    """
    # What a user sees of a cancelled await ends with what was awaited: pytest and IPython leave such frames out.
    __tracebackhide__ = True
    if operation.parks and is_anyios(error):
        # A scope inside the lifespan was cancelled, because its child failed: that does not keep it from parking.
        shield = _shield()
        try:
            return (yield from _parked(operation))
        except GeneratorExit:
            shield = None
            raise
        except asyncio.CancelledError as newer:
            error = newer
        finally:
            if shield is not None:
                shield.__exit__(None, None, None)
            del shield
    operation.cancel()
    if not operation.settled():
        error = yield from _until_ended(operation, error)
    annotate(operation, error)
    operation.close()
    try:
        raise error
    finally:
        # The frame must not keep the error that keeps the frame: a forgotten link would wait for the collector.
        del error


def _parked(operation: _core.Operation) -> Generator[Any, Any, Any]:
    while not operation.settled():
        yield operation.future()
    return operation.result()


def _until_ended(operation: _core.Operation, error: BaseException) -> Generator[Any, Any, BaseException]:
    """Wait until Rust has ended, or has had its time; the error to raise."""
    shield = _shield()
    late = [False]

    def give_up() -> None:
        late[0] = True
        if not waiting.done():
            waiting.ring()

    timer = asyncio.get_running_loop().call_later(_core.CANCEL_TIMEOUT + operation.patience, give_up)
    settling.add(operation)
    try:
        while not operation.settled() and not late[0]:
            waiting = operation.future()
            try:
                yield waiting
            except GeneratorExit:
                # The task is being destroyed, maybe in another one: nothing may be awaited, and the scope is not ours
                # to leave.
                shield = None
                raise
            except BaseException as newer:
                error = _the_one_to_raise(error, newer)
        return error
    finally:
        settling.discard(operation)
        timer.cancel()
        if shield is not None:
            shield.__exit__(None, None, None)
        # As above: a second cancellation keeps this frame, and these lead to the task that keeps the cancellation.
        waiting = None  # type: ignore[assignment]
        del shield, timer, give_up, error


def annotate(operation: _core.Operation, error: BaseException) -> None:
    """Add what became of a cancelled operation to the cancellation, and to the log where Rust did not answer."""
    left = operation.left()
    strand = current_strand()
    if left is not None and strand is not None:
        strand._add_effects(left)
    epitaph = operation.epitaph()
    if epitaph is not None:
        error.add_note(epitaph)
        if "did not stop" in epitaph:
            from labtether._engine import logger

            logger.error(epitaph.removeprefix("labtether: "))


def _shield() -> anyio.CancelScope | None:
    """An entered scope that keeps anyio from delivering its cancellation again on every turn of the loop."""
    if "anyio._backends._asyncio" not in sys.modules:
        return None
    import anyio

    return anyio.CancelScope(shield=True).__enter__()


def _the_one_to_raise(first: BaseException, newer: BaseException) -> BaseException:
    """anyio swallows its own cancellations by their message; a task's own cancel must not be taken for one of those."""
    return first if is_anyios(newer) and not is_anyios(first) else newer


def is_anyios(error: BaseException) -> bool:
    """Whether this cancellation is one of anyio's own, on asyncio."""
    return (
        bool(error.args) and isinstance(error.args[0], str) and error.args[0].startswith("Cancelled via cancel scope ")
    )
