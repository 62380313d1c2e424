"""Nurseries: Python children, links and Rust work in one scope, on asyncio and trio.

Three tiers, ended one after the other: the ordinary children (and the block itself, and Rust's), then the services,
then what was entered, in reverse. Each nursery is an anyio task group for each kind, tied to a supervisor in Rust.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar, Token, copy_context
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, final

import anyio

from labtether import _core
from labtether._checks import check_name, check_seconds
from labtether._ending import end_rust, left, parted
from labtether._engine import ensure_started
from labtether._errors import CleanupTimeout, ScopeClosed
from labtether._gate import Gate
from labtether._handle import Handle
from labtether._home import Home
from labtether._keeping import Keeping, name_of, work_of
from labtether._log import nursery_log, stays_log
from labtether._outcome import Failed
from labtether._shown import Shown
from labtether._strand import Strand, current_strand
from labtether._sync import Event

__all__ = ["Nursery", "innermost", "open_nursery"]

T = TypeVar("T")

DEADLINE = "its deadline passed"
"""The supervisor's own words, in src/nursery/mod.rs."""

_innermost: ContextVar[Nursery | None] = ContextVar("labtether nursery", default=None)


def innermost() -> Nursery | None:
    """The nursery around the code that runs, if it is still open."""
    nursery = _innermost.get()
    return nursery if nursery is not None and nursery._gate.is_open else None


def open_nursery(name: str = "nursery", *, timeout: float | None = None) -> Nursery:
    """A scope whose children all end before it does: `async with lt.open_nursery("run 7") as nursery:`.

    timeout: seconds after which it is cancelled and raises TimeoutError; alone, or beside what failed.

    The first failure, of a child, of the block or of a link that was entered, cancels the others; all failures come out
    in one ExceptionGroup. Raises RuntimeError where no event loop runs.
    """
    check_name(name, "name")
    seconds = check_seconds(timeout, "timeout")
    if not _core.runs_a_loop():
        raise RuntimeError(
            f"nursery {name!r} needs a running event loop: open it in an async function (asyncio.run, trio.run, "
            "a notebook cell with await); for threads there is lt.Executor"
        )
    return Nursery(name, seconds)


@final
class Nursery(Shown):
    """A scope, from `lt.open_nursery()`."""

    __slots__ = (
        "__weakref__",
        "_cancelled_class",
        "_children",
        "_context",
        "_ended",
        "_gate",
        "_home",
        "_keeping",
        "_live",
        "_name",
        "_opener",
        "_stopping",
        "_supervisor",
        "_threads",
        "_timed_out",
        "_timeout",
        "_token",
    )

    _supervisor: _core.Supervisor
    _home: Home
    _token: Token[Nursery | None]

    def __init__(self, name: str, timeout: float | None) -> None:
        self._name = name
        self._timeout = timeout
        self._live: dict[Handle[Any], None] = {}
        self._timed_out: TimeoutError | None = None
        self._stopping = Event(f"the stop of {name}")
        self._gate = Gate()
        self._ended = False
        self._opener: Strand | None = None
        self._threads: list[Any] = []
        """Workers that were given up and may still run."""

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def reason(self) -> str | None:
        """Why it is being cancelled, or was; None if it is not."""
        return self._supervisor.reason() if hasattr(self, "_supervisor") else None

    @property
    def stopping(self) -> Event:
        """Set once the nursery is being cancelled: what a child watches that wants to use the grace period."""
        return self._stopping

    @property
    def children(self) -> tuple[Handle[Any], ...]:
        """The children that have not ended, services and what was entered among them, the oldest first."""
        return tuple(self._live)

    # -- The block -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if hasattr(self, "_supervisor"):
            raise RuntimeError(f"nursery {self._name!r} is entered once")
        ensure_started()
        self._cancelled_class = anyio.get_cancelled_exc_class()
        self._supervisor = _core.Supervisor(self._name, self._timeout)
        self._home = Home(self._supervisor.key, self._rung)
        self._keeping = Keeping(self)
        self._children = anyio.create_task_group()
        await self._keeping.group.__aenter__()
        await self._children.__aenter__()
        self._opener = current_strand()
        if self._opener is not None:
            self._opener._nurseries = (*self._opener._nurseries, weakref.ref(self))
        self._token = _innermost.set(self)
        self._context = copy_context()
        self._gate.is_open = True
        _open.add(self)
        self._rung()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is not None:
            self._body_failed(error)
        self._gate.leave(self._home)
        ending = await left(self._children, error)
        self._gate.close()
        errors, cancellation = parted(ending, self._cancelled_class)
        try:
            interrupt, rust = await end_rust(self._supervisor, self._name, ending)
            interrupt = await self._keeping.close(ending) or interrupt
        finally:
            self._leave()
        # What failed stays out of the outer group, which has only to know whether it is being cancelled.
        ending = await left(self._keeping.group, cancellation or interrupt)
        late, cancellation = parted(ending, self._cancelled_class)
        errors += [*late, *rust, *self._own_failures(), *([] if cancellation is None else [cancellation])]
        final = self._final(errors)
        if final is None:
            return True
        if final is error:
            return False
        try:
            raise final from None
        finally:
            self._timed_out = None
            del final, errors, ending, error, cancellation, interrupt, late, rust

    def __enter__(self) -> None:
        raise TypeError("a nursery waits for its children when it is left: use `async with`")

    __exit__ = __enter__

    def _leave(self) -> None:
        self._gate.close()
        self._ended = True
        self._home.leave()
        _open.discard(self)
        try:
            _innermost.reset(self._token)
        except ValueError:
            # Left in another context than it was entered in, as pytest's fixtures are.
            _innermost.set(None)
        if self._opener is not None:
            self._opener._nurseries = tuple(known for known in self._opener._nurseries if known() not in (None, self))
        self._home.catch_up()
        for handle in list(self._live):
            handle._abandon()

    def _own_failures(self) -> list[BaseException]:
        failures: list[BaseException] = []
        if self._timeout is not None and self._supervisor.reason() == DEADLINE:
            self._timed_out = TimeoutError(f"nursery {self._name!r} did not end within {self._timeout:g} s")
            failures.append(self._timed_out)
        running = [worker.label for worker in self._threads if not worker.done.is_set()]
        if running:
            stuck = CleanupTimeout(f"nursery {self._name!r} leaves running: {', '.join(running)}", stuck=running)
            stuck.add_note(f"labtether: the tree:\n{self.tree()}")
            failures.append(stuck)
        return failures

    def _final(self, errors: list[BaseException]) -> BaseException | None:
        """One error of all. A cancellation from outside goes on alone only if nothing failed."""
        failures = [error for error in errors if not isinstance(error, self._cancelled_class)]
        if not failures:
            return errors[0] if errors else None
        if failures == [self._timed_out]:
            return self._timed_out
        plural = "" if len(failures) == 1 else "s"
        return BaseExceptionGroup(f"{len(failures)} failure{plural} in nursery {self._name!r}", failures)

    # -- Children ------------------------------------------------------------------------------------------------------

    def start_soon(
        self, async_fn: Callable[..., Coroutine[Any, Any, T]], *args: Any, name: str | None = None
    ) -> Handle[T]:
        """Start `async_fn(*args)` as a child; from anywhere: from another loop or thread it is posted to this one's.

        Raises ScopeClosed if the nursery has ended; TypeError if it is not an async function.
        """
        handle: Handle[T] = Handle(name_of(async_fn, name), self)
        self._check_open(handle._name)
        work = work_of(async_fn, args, {})
        try:
            self._admit(handle)
            if self._home.is_here():
                self._spawn(handle, work)
            else:
                self._home.post(partial(self._context.copy().run, self._spawn, handle, work))
        except BaseException:
            work.close()
            handle._abandon()
            raise
        return handle

    async def start(
        self, async_fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any, name: str | None = None
    ) -> Any:
        """Start `async_fn(*args, task_status=...)` and wait until it says `task_status.started(value)`; the value.

        What it raises before that is raised here, and is no failure of the nursery; if this wait is cancelled, so is
        the child.
        """
        handle: Handle[Any] = Handle(name_of(async_fn, name), self)
        self._check_open(handle._name)
        self._check_home("start()")
        self._admit(handle)
        try:
            return await self._children.start(handle._run_starting, async_fn, args, name=handle._name)
        except self._cancelled_class:
            # anyio drops what the child raised when it was cancelled with this wait.
            if isinstance(handle._outcome, Failed):
                raise handle._outcome.error from None
            raise
        finally:
            if handle._starting:
                handle._abandon()

    def service(
        self, async_fn: Callable[..., Coroutine[Any, Any, T]], *args: Any, name: str | None = None
    ) -> Handle[T]:
        """Start a background child: a heartbeat, a logger. It is cancelled once the ordinary children have ended: after
        them, and before what was entered is closed. Its failure is a failure of the nursery.

        Raises ScopeClosed, and RuntimeError outside the nursery's own loop.
        """
        handle: Handle[T] = Handle(name_of(async_fn, name), self)
        self._check_open(handle._name)
        self._check_home("service()")
        self._keeping.serve(handle, work_of(async_fn, args, {}))
        return handle

    async def enter(self, cm: AbstractAsyncContextManager[T]) -> T:
        """Enter an async context manager, such as a link; it is closed with the nursery, after the services, in reverse
        order, in a task of its own. A link that is lost is a failure of the nursery.

        What it raises on entering is raised here. If cancelled, nothing stays entered.
        """
        if not hasattr(type(cm), "__aenter__") or not hasattr(type(cm), "__aexit__"):
            raise TypeError(f"enter() takes an async context manager, not {type(cm).__name__}")
        label = getattr(cm, "name", None)
        handle: Handle[None] = Handle(label if isinstance(label, str) else type(cm).__name__, self)
        self._check_open(handle._name)
        self._check_home("enter()")
        return await self._keeping.enter(handle, cm)

    def cancel(self, reason: str = "", *, grace: float = 0.0) -> None:
        """Cancel everything in it; from anywhere. The block then ends silently.

        grace: seconds that the children may take to finish by themselves (they can watch `stopping`) before they are
        cancelled hard.
        """
        patience = check_seconds(grace, "grace") or 0.0
        self._check_entered()
        if not self._ended:
            self._supervisor.cancel(reason or f"nursery {self._name} was cancelled", patience)
            self._stopping.set()
            if patience == 0.0:
                self._home.do(self._rung)

    def tree(self) -> Any:
        """Who is alive in it: tasks, links, Rust work, with ages and situations; `str()`, `.to_dict()`, HTML."""
        from labtether._tree import of_nursery

        self._check_entered()
        return of_nursery(self)

    # -- Inside --------------------------------------------------------------------------------------------------------

    def _check_entered(self) -> None:
        if not hasattr(self, "_supervisor"):
            raise RuntimeError(f"nursery {self._name!r} has not been entered: async with lt.open_nursery(...)")

    def _check_open(self, child: str) -> None:
        if not self._gate.is_open:
            state = "has ended" if hasattr(self, "_supervisor") else "has not been entered"
            raise ScopeClosed(f"{child} cannot start: nursery {self._name!r} {state}")

    def _admit(self, handle: Handle[Any]) -> None:
        if not self._gate.admit():
            self._check_open(handle._name)
        handle._ordinary = True
        self._live[handle] = None

    def _check_home(self, method: str) -> None:
        if not self._home.is_here():
            raise RuntimeError(
                f"{method} of nursery {self._name!r} was called outside its event loop; start_soon() may be"
            )

    def _look_late(self) -> None:
        """It was told to stop: if it has not in a while, the log says who goes on."""
        if self._supervisor.overdue(self._home.port):
            stays_log(self, _core.CANCEL_TIMEOUT)

    def _rung(self) -> None:
        """Called in the loop, when something was posted or the supervisor wants to end."""
        self._home.catch_up()
        if self.reason is not None:
            self._look_late()
        reason = self._supervisor.enforced(self._home.port) if self._gate.is_open else None
        if reason is not None and not self._children.cancel_scope.cancel_called:
            self._stopping.set()
            self._look_late()
            self._children.cancel_scope.cancel(reason)

    def _spawn(self, handle: Handle[T], work: Coroutine[Any, Any, T]) -> None:
        handle._cancel = self._children.create_task(handle._run(work), name=handle._name).cancel

    def _child_ended(self, handle: Handle[Any]) -> None:
        self._live.pop(handle, None)
        if handle._ordinary:
            self._gate.gone(self._home)
        if self._opener is not None and handle._effects:
            self._opener._add_effects(*handle._effects)

    def _child_failed(self, handle: Handle[Any], error: BaseException) -> None:
        """The siblings are being cancelled by the task group; Rust has to know, and the log."""
        if isinstance(error, GeneratorExit):
            return
        error.add_note(f"labtether: in {handle._name!r} of nursery {self._name!r}, after {handle.age:.3g} s")
        nursery_log(self, handle, error)
        self._supervisor.cancel(f"{handle._name} failed", 0.0)
        self._stopping.set()
        self._look_late()

    def _body_failed(self, error: BaseException) -> None:
        cancelled = isinstance(error, self._cancelled_class)
        reason = "the scope around it was cancelled" if cancelled else "its block failed"
        self._supervisor.cancel(reason, 0.0)
        self._stopping.set()
        self._look_late()

    def __repr__(self) -> str:
        if not hasattr(self, "_supervisor"):
            state = "not entered"
        elif not self._gate.is_open:
            state = "ended"
        else:
            state = f"{len(self._live)} child{'' if len(self._live) == 1 else 'ren'}"
        reason = self.reason
        return f"<Nursery {self._name}: {state}{f', cancelled: {reason}' if reason else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"nursery {self._name} belongs to its loop and cannot be pickled")


_open: weakref.WeakSet[Nursery] = weakref.WeakSet()
"""All that are open, for the tree of the lifecycle."""
