"""One piece of an Executor's work: the future its submitter holds, and its turns on the workers. Which worker takes it
and when is `_executor_pool`'s business.

# Invariants
1. `_state` changes under `_lock` alone, and `_condition` is built on that lock: concurrent.futures.wait() reads the
   state twice under it.
2. A piece of work is in one place at a time: in the queue, on a worker, suspended, or ended. Who moves it does so under
   `_lock`, so a cancel, a resumption and a worker never take it twice.
3. What a worker owes to the work's end (its count, its thread's place) is paid after the callbacks have run, so that
   `join()` sees what they submit.
"""

from __future__ import annotations

import threading
from _thread import RLock, allocate_lock
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError
from concurrent.futures import Future as BaseFuture
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING, RUNNING
from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from labtether._executor_failures import Unheard, looked_at_by, shortened
from labtether._until_done import Task, Wait, close, misuse

if TYPE_CHECKING:
    from labtether._executor_pool import Pool

__all__ = ["Future"]

T = TypeVar("T")

DONE = (FINISHED, CANCELLED_AND_NOTIFIED, CANCELLED)


class Future(BaseFuture[T]):
    """A `concurrent.futures.Future` for everybody outside.

    What costs in the original is made when it is needed: the condition when `wait()` or `as_completed()` ask for it, a
    lock to sleep on when somebody waits for the result.
    """

    _state: str = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _callbacks: list[Callable[[BaseFuture[T]], object]] | None = None
    _sleepers: list[Any] | None = None
    _made: threading.Condition | None = None
    _task: Task | None = None
    _unheard: Unheard | None = None

    def __init__(self, pool: Pool, call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> None:
        # The original's __init__ would make what we make late.
        self._pool = pool
        self._call: Any = call
        self._lock = RLock()

    # Turns, called by workers. Each returns whether the work has ended. An error keeps their frames and is kept by the
    # future, so they must not keep the future: hence `del self`.

    def _turn(self) -> bool:
        """The next turn: call the function, or resume the task."""
        try:
            with self._lock:
                if fresh := self._state == PENDING:
                    self._state = RUNNING
            if not fresh:
                return self._advance(self._taken())
            try:
                function, args, kwargs = self._call
                # Not in a local name: when the waiter has the value, nobody else may refer to it (bpo-14406).
                self._result = function(*args, **kwargs)
            except BaseException as error:
                self._end(FINISHED, shortened(error))
                return True
            # A generator expression cannot wait, so it is a value. Any other generator is a task.
            if type(self._result) is GeneratorType and self._result.gi_code.co_name != "<genexpr>":
                self._task = Task(self._result)
                self._result = None
                return self._advance(partial(self._task.generator.send, None))
            self._end(FINISHED)
            return True
        finally:
            del self

    def _refused(self, error: BaseException) -> bool:
        """A turn in a pool that is broken."""
        try:
            with self._lock:
                if fresh := self._state == PENDING:
                    self._state = RUNNING
            if not fresh:
                return self._advance(self._taken(error))
            self._end(FINISHED, error)
            return True
        finally:
            del self

    def _taken(self, error: BaseException | None = None) -> Callable[[], Any] | None:
        """The next step of a task that was queued again. None: it was cancelled, or ended by others."""
        with self._lock:
            task = self._task
            if self._state == RUNNING and task is not None and task.wait is not None:
                task.wait, task.queued = None, False
                if task.closing:
                    return partial(close, task.generator)
                if error is not None:
                    return partial(task.generator.throw, error)
                return partial(task.generator.send, None)
        self._tell_cancelled()
        self._pool.free()
        return None

    def _advance(self, step: Callable[[], Any] | None) -> bool:
        """Run the generator until it waits or ends."""
        try:
            while step is not None:
                task = self._task
                assert task is not None
                try:
                    given = task.context.run(step)
                except StopIteration as stop:
                    self._result, step = stop.value, None
                    self._end(FINISHED)
                except CancelledError:
                    step = None
                    self._end(CANCELLED_AND_NOTIFIED)
                except BaseException as error:
                    step = None
                    self._end(FINISHED, shortened(error))
                else:
                    if (wrong := misuse(given, self)) is None:
                        self._suspend(task, given)
                        return False
                    step = partial(task.generator.throw, wrong)
            return True
        finally:
            del self

    def _suspend(self, task: Task, wait: Wait) -> None:
        with self._lock:
            task.wait = wait
        self._pool.free()
        # From here on it may be running again, on another worker.
        wait.begin(partial(self._resume, wait))

    def _resume(self, wait: Wait) -> None:
        """Back into the queue: called once by `wait`, from whichever thread ended what it waited for.

        At the back: nothing that was submitted before can be starved by tasks that keep waking up.
        """
        with self._lock:
            task = self._task
            if task is None or task.wait is not wait or task.queued:
                return  # cancelled meanwhile
            task.queued = True
            self._pool.put(self)
        self._pool.see_to_workers()

    def _place(self) -> str:
        """queued, running, suspended or ended."""
        task = self._task
        if self._state == RUNNING:
            if task is None or task.wait is None:
                return "running"
            return "queued" if task.queued else "suspended"
        return "queued" if self._state in (PENDING, CANCELLED) else "ended"

    def _end(self, state: str, error: BaseException | None = None, *, by_worker: bool = True) -> bool:
        """The only way from running to done. False: it had ended already."""
        with self._lock:
            callbacks = sleepers = None
            if first := self._state not in DONE:
                callbacks, sleepers = self._callbacks, self._sleepers
                if error is not None:
                    if not sleepers and not self._waiters and not looked_at_by(callbacks):
                        self._unheard = Unheard(error, self._name(), self._pool)
                    self._exception = error
                self._state = state
                self._call = self._task = self._callbacks = self._sleepers = None
                if self._made is not None:
                    self._tell_waiters()
        # The worker is free before the result is seen, so that who submits again at once finds it idle; but not before
        # callbacks, which may block on work of this very pool.
        if by_worker and callbacks is None:
            self._pool.free()
        for sleeper in sleepers or ():
            sleeper.release()
        if callbacks is not None:
            self._call_back(callbacks)
            if by_worker:
                self._pool.free()
        return first

    def _tell_waiters(self) -> None:
        """Those that wait by the protocol of concurrent.futures. Under `_lock`."""
        for waiter in self._waiters:
            if self._state != FINISHED:
                waiter.add_cancelled(self)
            elif self._exception is not None:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)
        if self._made is not None:
            self._made.notify_all()

    def _call_back(self, callbacks: list[Callable[[BaseFuture[T]], object]]) -> None:
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                LOGGER.exception("exception calling callback for %r", self)
            except BaseException:
                # On a worker nobody is there to take it, and the worker must survive.
                if threading.current_thread() not in self._pool.threads:
                    raise
                LOGGER.exception("exception calling callback for %r", self)

    # What the world sees.

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        # Asked for by wait() and as_completed(), before they look at the state.
        self._heard()
        with self._lock:
            if self._made is None:
                self._waiters = []
                self._made = threading.Condition(self._lock)
            return self._made

    def _heard(self) -> None:
        if (unheard := self._unheard) is not None:
            unheard.take()

    def cancel(self) -> bool:
        """Cancel what is queued or suspended. False: it is running, or has ended.

        What was queued ends at once. A suspended generator is closed on a worker first: its `finally` blocks run, then
        the future ends as cancelled (or with the error that they raised).
        """
        with self._lock:
            if self._state == RUNNING:
                task = self._task
                if task is None or task.wait is None:
                    return False
                task.closing = True
                if task.queued:
                    return True
                suspended = task.queued = True
                self._pool.put(self)
            elif self._state != PENDING:
                return self._state != FINISHED
            else:
                suspended = False
                self._state = CANCELLED
                callbacks, sleepers = self._callbacks, self._sleepers
                self._callbacks = self._sleepers = None
                if self._made is not None:
                    self._made.notify_all()
        if suspended:
            self._pool.see_to_workers()
            return True
        for sleeper in sleepers or ():
            sleeper.release()
        self._call_back(callbacks or [])
        return True

    def _cancel_unbegun(self) -> bool:
        """Cancel it if it is queued for its first turn, and tell everybody."""
        if self._state == PENDING:
            self.cancel()
        return self._tell_cancelled()

    def _tell_cancelled(self) -> bool:
        """By the protocol of concurrent.futures, the executor tells wait() and as_completed() of a cancellation."""
        with self._lock:
            if self._state != CANCELLED:
                return False
            self._state = CANCELLED_AND_NOTIFIED
            self._call = None
            self._tell_waiters()
        return True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Whether it has begun and not ended. A suspended task has."""
        return self._state == RUNNING

    def done(self) -> bool:
        """Whether it has ended, or was cancelled."""
        return self._state in DONE

    def result(self, timeout: float | None = None) -> T:
        """The value. Raises what the work raised, CancelledError, or TimeoutError after `timeout` seconds."""
        try:
            self._sleep(timeout)
            if self._state != FINISHED:
                raise CancelledError
            if self._exception is not None:
                self._heard()
                raise self._exception
            value: T = self._result
            return value
        finally:
            # The frame that the error keeps must not keep the future that keeps the error.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the work raised, or None. Raises CancelledError, or TimeoutError after `timeout` seconds."""
        self._sleep(timeout)
        if self._state != FINISHED:
            raise CancelledError
        self._heard()
        return self._exception

    def _sleep(self, timeout: float | None) -> None:
        """Until it has ended."""
        if self._state in DONE:
            return
        sleeper = allocate_lock()
        sleeper.acquire()
        with self._lock:
            if self._state in DONE:
                return
            if self._sleepers is None:
                self._sleepers = []
            self._sleepers.append(sleeper)
        try:
            if timeout is None:
                sleeper.acquire()
                return
            if sleeper.acquire(True, timeout) if timeout > 0 else sleeper.acquire(False):
                return
        finally:
            if self._state not in DONE:
                with self._lock:
                    if self._sleepers is not None:
                        self._sleepers.remove(sleeper)
        if self._state not in DONE:
            raise TimeoutError

    def add_done_callback(self, fn: Callable[[BaseFuture[T]], object]) -> None:
        """Call `fn(future)` when it has ended: on the worker, or here and now if it has."""
        with self._lock:
            if self._state not in DONE:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(fn)
                return
        if not isinstance(fn, Wait):
            self._heard()
        try:
            fn(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)

    def set_result(self, result: T) -> None:
        """For tests and for those who end it in the executor's place. Raises InvalidStateError if it has ended."""
        with self._lock:
            if self._state not in DONE:
                self._result = result
        self._end_from_outside(None)

    def set_exception(self, exception: BaseException | None) -> None:
        """See `set_result`."""
        self._end_from_outside(exception)

    def _end_from_outside(self, error: BaseException | None) -> None:
        if not self._end(FINISHED, error, by_worker=False):
            raise InvalidStateError(f"{self._state}: {self!r}")

    def _name(self) -> str:
        """What was called, for people."""
        if (call := self._call) is None:
            return "ended work"
        function = call[0]
        while isinstance(function, partial):
            function = function.func
        name = getattr(function, "__qualname__", None)
        return name if isinstance(name, str) else type(function).__qualname__

    def __repr__(self) -> str:
        if self._state != FINISHED:
            said = self._state.partition("_")[0].lower()
        elif self._exception is not None:
            said = f"finished raised {type(self._exception).__name__}"
        else:
            said = f"finished returned {type(self._result).__name__}"
        return f"<{type(self).__name__} at {id(self):#x} state={said}>"
