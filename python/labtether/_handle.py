"""Handles: a child of a nursery, seen from outside. Awaitable from several tasks, from other loops, and through `.sync`
from threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import anyio

from labtether import _core
from labtether._outcome import Cancelled, Failed, Ok, Outcome
from labtether._shown import Shown
from labtether._strand import Strand, _strand
from labtether._sync import block

if TYPE_CHECKING:
    from labtether._nursery import Nursery

__all__ = ["Handle", "SyncHandle"]

T = TypeVar("T")

_making = threading.Lock()


@final
class Handle(Shown, Strand, Generic[T]):
    """A child of a nursery. It keeps its outcome after its nursery has ended; its work never outlives the nursery."""

    __slots__ = ("_cancel", "_event", "_nursery", "_ordinary", "_outcome", "_reason", "_starting")

    _outcome: Outcome[T] | None

    def __init__(self, name: str, nursery: Nursery) -> None:
        super().__init__(name)
        self._nursery = nursery
        self._outcome = None
        self._reason: str | None = None
        self._event: _core.Event | None = None
        """Made for the first who waits."""
        self._cancel: Callable[[], None] | None = None
        """Cancels the task; None before it has one, and after its end."""
        self._ordinary = False
        """Whether the nursery counts it among those that end first."""
        self._starting = False
        """Whether its failure belongs to who starts it, and not to the nursery."""

    async def _run(self, work: Coroutine[Any, Any, T]) -> None:
        """The child itself."""
        _strand.set(self)
        try:
            value = await work
        except BaseException as error:
            self._ended_with(error)
            raise
        else:
            self._end(Ok(value, elapsed=self.age))
        finally:
            _core.let_go()
            del work

    async def _run_starting(
        self, async_fn: Callable[..., Any], args: tuple[Any, ...], *, task_status: anyio.abc.TaskStatus[Any]
    ) -> None:
        from labtether._keeping import work_of

        self._starting = True
        with anyio.CancelScope() as scope:
            self._cancel = scope.cancel
            await self._run(work_of(async_fn, args, {"task_status": _Status(self, task_status)}))
        if scope.cancelled_caught and self._starting:
            raise anyio.TaskCancelled(self._why())

    def _abandon(self) -> None:
        """It was never begun, or was destroyed."""
        self._end(Cancelled(self._why(), self._effects, elapsed=self.age))

    def _ended_with(self, error: BaseException) -> None:
        if isinstance(error, self._nursery._cancelled_class):
            self._end(Cancelled(self._why(), self._effects, elapsed=self.age))
        else:
            self._end(Failed(error, elapsed=self.age))
            if not self._starting:
                self._nursery._child_failed(self, error)

    def _why(self) -> str:
        return self._reason or self._nursery.reason or "the scope around its nursery was cancelled"

    def _end(self, outcome: Outcome[T]) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._cancel = None
            self._nursery._child_ended(self)
            if self._event is not None:
                self._event.set()

    @property
    def _done(self) -> _core.Event:
        """Set when it has ended."""
        event = self._event
        if event is None:
            with _making:
                event = self._event = self._event or _core.Event(self._name)
        if self._outcome is not None:
            # It may have ended while this was made, and not seen it.
            event.set()
        return event

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._outcome is not None

    def cancel(self, reason: str = "") -> None:
        """Ask it to stop; from anywhere. Does not wait: await its outcome for that. Its siblings go on."""
        if self._outcome is None:
            if self._reason is None:
                self._reason = reason or "its handle was cancelled"
            self._nursery._home.do(self._cancel_now)

    def _cancel_now(self) -> None:
        if self._cancel is not None:
            self._cancel()

    def __await__(self) -> Generator[Any, Any, T]:
        """Its value. Raises its error if it failed, anyio.TaskCancelled (with the reason) if it was cancelled.

        Cancelling this wait leaves the child alone.
        """
        if self._outcome is None or _core.runs_a_loop():
            yield from self._done.wait().__await__()
        return self._known().unwrap()

    async def outcome(self) -> Outcome[T]:
        """How it ended, as a value, when it has. Cancelling this wait leaves the child alone."""
        await self._done.wait()
        return self._known()

    def _known(self) -> Outcome[T]:
        if self._outcome is None:
            raise RuntimeError(f"{self._name} has not ended")
        return self._outcome

    @property
    def sync(self) -> SyncHandle[T]:
        """The same for threads without a loop."""
        return SyncHandle(self)

    def __repr__(self) -> str:
        match self._outcome:
            case None:
                state = f"running for {self.age:.1f} s"
            case Ok(value):
                state = f"returned {value!r:.60}"
            case Failed(error):
                state = f"failed: {error!r:.60}"
            case Cancelled(reason):
                state = f"cancelled: {reason}"
        doing = self.situation
        return f"<Handle {self._name}: {state}{f', {doing}' if doing else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"the handle of {self._name} belongs to its nursery and cannot be pickled")


class _Status(anyio.abc.TaskStatus[Any]):
    """Says when a child has started: from then on its failure is the nursery's."""

    def __init__(self, handle: Handle[Any], status: anyio.abc.TaskStatus[Any]) -> None:
        self._handle = handle
        self._status = status

    def started(self, value: Any = None) -> None:
        self._status.started(value)
        self._handle._starting = False


@final
class SyncHandle(Shown, Generic[T]):
    """A handle for plain threads."""

    __slots__ = ("_twin",)

    def __init__(self, twin: Handle[T]) -> None:
        self._twin = twin

    def result(self) -> T:
        """Block until it has ended; its value or its error, as `await handle`. Ctrl-C ends the wait."""
        return self.outcome().unwrap()

    def outcome(self) -> Outcome[T]:
        """Block until it has ended; how, as a value."""
        outcome: Outcome[T] = block(self._twin.outcome)
        return outcome

    def cancel(self, reason: str = "") -> None:
        """See Handle.cancel."""
        self._twin.cancel(reason)

    @property
    def done(self) -> bool:
        """See Handle.done."""
        return self._twin.done

    def __repr__(self) -> str:
        return repr(self._twin).replace("<Handle ", "<Handle.sync ", 1)
