"""An Executor's workers and their queue. They know nothing of the Executor, so that it can be collected while they run.

# Invariants
1. `unfinished` holds all work from before it is in the queue until after its callbacks have run. Who takes the last
   out of it looks for `joiners` and `closed` afterwards; who joins or closes looks into `unfinished` afterwards. So one
   of them sees the other, without a lock.
2. Workers leave when the pool is closed and nothing is unfinished, not before: what was accepted is done.
3. Until the pool is full, `idle` has a token for each worker beyond the work in hand: threads = tokens + work queued or
   running. Too few tokens cost a thread that was not needed; too many would leave work without one.
4. `_starting` is held to start threads and to list them; never while work runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from _thread import RLock, allocate_lock, start_new_thread
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures._base import LOGGER
from concurrent.futures.thread import BrokenThreadPool
from queue import SimpleQueue
from typing import Any

from labtether._executor_failures import logger, unheard
from labtether._executor_future import Future

__all__ = ["Pool"]

ORPHANS_KEPT = 100
"""Failures whose futures are gone, kept for `join()`. All of them are in the log."""

NAMES_SAID = 5

AT_EXIT = "cannot schedule new futures after interpreter shutdown"

_starting = RLock()
_with_threads: set[Pool] = set()
_exiting = False


class Worker(threading.Thread):
    """One thread. `ended` counts the work it has brought to its end."""

    def __init__(self, name: str, pool: Pool) -> None:
        # Said, not inherited: asking for the starting thread would put that one on record for good.
        super().__init__(name=name, daemon=False)
        self.ended = 0
        self._pool = pool

    def run(self) -> None:
        """Work, until there is none and there will be none."""
        pool = self._pool
        try:
            if pool.initializer is not None:
                try:
                    pool.initializer(*pool.initargs)
                except BaseException as error:
                    LOGGER.critical("Exception in initializer:", exc_info=True)
                    pool.broken = error
            self._work(pool)
        except BaseException:
            LOGGER.critical("Exception in worker", exc_info=True)
        finally:
            del pool
            self._leave()
            del self._pool

    def _work(self, pool: Pool) -> None:
        take = pool.queue.get
        unfinished = pool.unfinished
        # A pool whose initializer failed goes on refusing: what is put by a submit that came just before is not lost.
        refuses = pool.broken is not None
        while True:
            future = take()
            if future is None:
                # By invariant 1 the pool is closed, and no work that was accepted is left.
                pool.queue.put(None)  # for the next worker
                return
            if future._refused(pool.broken_error()) if refuses else future._turn():
                self.ended += 1
                unfinished.discard(future)
                # Thrown away before joiners are told: what its end has to say is said before join() returns.
                future = None
                if not unfinished and (pool.closed or pool.joiners):
                    pool.converged()
            future = None

    def _leave(self) -> None:
        pool = self._pool
        pool.working.discard(self)
        if not pool.working:
            with _starting:
                if not pool.working:
                    _with_threads.discard(pool)
            while pool.closers:
                pop_and_call(pool.closers)


class Pool:
    """What the workers, the futures and the Executor share."""

    def __init__(
        self,
        name: str,
        size: int,
        thread_name: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        self.name = name
        self.size = size
        self.thread_name = thread_name
        self.initializer = initializer
        self.initargs = initargs
        self.queue: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self.put = self.queue.put
        self.unfinished: set[Future[Any]] = set()
        self.idle: deque[None] = deque(maxlen=size)
        self.threads: set[Worker] = set()
        self.working: set[Worker] = set()
        self.full = False
        self.joiners: deque[Callable[[], object]] = deque()
        self.closers: deque[Callable[[], object]] = deque()
        self.closed: str | None = None
        self.broken: BaseException | None = None
        self.orphans: deque[BaseException] = deque(maxlen=ORPHANS_KEPT)
        self.owner: weakref.ref[Any] | None = None

    # Submitting.

    def broken_error(self) -> BrokenThreadPool:
        """A new one for each who gets it: raising adds to it."""
        error = BrokenThreadPool("A thread initializer failed, the thread pool is not usable anymore")
        error.__cause__ = self.broken
        return error

    def admit(self) -> None:
        """Raise if no new work is taken; otherwise see that there is a thread for one more piece."""
        if self.broken is not None:
            raise self.broken_error()
        if self.closed is not None or _exiting:
            raise RuntimeError(self.closed or AT_EXIT)
        if not self.full:
            self.find_worker()

    def find_worker(self) -> None:
        """An idle one, or a new one. Raises RuntimeError if the system gives no thread."""
        try:
            self.idle.pop()
        except IndexError:
            self._start_worker()

    def see_to_workers(self) -> None:
        """The same for work that has been accepted before: there are workers, in the worst case busy ones."""
        if not self.full and not _exiting:
            try:
                self.find_worker()
            except RuntimeError as error:
                logger.warning("%s: %s; its %d threads go on", self.name, error, len(self.threads))

    def free(self) -> None:
        """A worker is going to take the next piece."""
        if not self.full:
            self.idle.append(None)

    def _start_worker(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._start_here()
            return
        # Interrupts come to the main thread, and Thread.start() does not survive one: it leaves a thread behind that
        # never runs, or never ends. So the main thread lets another one do it, and waits in a way that can be left.
        failure: list[BaseException] = []
        done = allocate_lock()
        done.acquire()
        start_new_thread(self._start_for_main, (failure, done.release))
        done.acquire()
        if failure:
            raise failure.pop()

    def _start_for_main(self, failure: list[BaseException], say: Callable[[], None]) -> None:
        try:
            self._start_here()
        except BaseException as error:
            failure.append(error)
        finally:
            say()

    def _start_here(self) -> None:
        with _starting:
            if not self.working and (_exiting or self.closed is not None):
                raise RuntimeError(self.closed or AT_EXIT)
            if _exiting or len(self.threads) >= self.size:
                self.full = True
                return
            worker = Worker(f"{self.thread_name}_{len(self.threads)}", self)
            self.threads.add(worker)
            self.working.add(worker)
            _with_threads.add(self)
            try:
                worker.start()
            except BaseException:
                self.threads.discard(worker)
                worker._leave()
                raise
            self.full = len(self.threads) == self.size

    # Ending.

    def converged(self) -> None:
        """Nothing is unfinished, or was not a moment ago: tell those who wait for it; they look again."""
        while self.joiners:
            pop_and_call(self.joiners)
        if self.closed:
            self.put(None)

    def withdraw(self, future: Future[Any]) -> None:
        """It was not accepted after all."""
        self.unfinished.discard(future)
        if not self.unfinished:
            self.converged()

    def close(self, why: str) -> None:
        """Take no new work. What there is is finished, then the workers leave."""
        if self.closed is None:
            self.closed = why
        if not self.unfinished:
            self.converged()

    def cancel_queued(self) -> None:
        """Cancel what has not begun. What waits for it gets CancelledError and can end."""
        # It stays in the queue, where workers step over it: an interrupt between taking it out and cancelling it would
        # lose it, and who waits for it would wait for ever.
        for future in list(self.unfinished):
            if future._cancel_unbegun():
                self.unfinished.discard(future)
        if not self.unfinished:
            self.converged()

    def names(self) -> str:
        """How much is unfinished, and what it is."""
        left = list(self.unfinished)
        counted = Counter(future._name() for future in left).most_common()
        said = [name if count == 1 else f"{name} x {count}" for name, count in counted[:NAMES_SAID]]
        return f"{len(left)} left: {', '.join(said)}{', ...' if len(counted) > NAMES_SAID else ''}"

    def situation(self) -> str:
        """What a repr says."""
        places = Counter(future._place() for future in list(self.unfinished))
        suspended = f"{places['suspended']} suspended, " if places["suspended"] else ""
        done = sum(worker.ended for worker in list(self.threads))
        state = "broken, " if self.broken is not None else ""
        if self.closed is not None:
            state += "shutting down, " if self.working else "shut down, "
        busy = f"{places['running']} of {self.size} workers busy"
        return f"{state}{busy}, {places['queued']} queued, {suspended}{done} done"

    def unheard_failures(self, *, tell: bool = False) -> list[BaseException]:
        """Those that nobody has looked at; they are looked at now. tell: those that are not in the log yet go there."""
        errors = {}
        # In this order, and each once: one that dies meanwhile is in both places for a moment, never in neither.
        for one in unheard():
            if one.pool is self and (error := one.tell() if tell else one.take()) is not None:
                errors[id(error)] = error
        while self.orphans:
            error = self.orphans.popleft()
            errors[id(error)] = error
        return list(errors.values())

    def refuse_worker(self, what: str) -> None:
        """Raise RuntimeError in a worker of this pool."""
        if threading.current_thread() in self.threads:
            raise RuntimeError(f"{what} in a worker of {self.name} itself would wait for its own end for ever")

    def join_threads(self) -> None:
        """Until every worker has left. Raises RuntimeError in one of them."""
        self.refuse_worker("shutdown(wait=True)")
        joined: set[Worker] = set()
        while True:
            with _starting:
                left = self.threads - joined
            if not left:
                return
            for thread in left:
                thread.join()
            joined |= left  # while they finished their work, they may have started more


def pop_and_call(waiting: deque[Callable[[], object]]) -> None:
    """Each is called once, whoever calls."""
    try:
        call = waiting.popleft()
    except IndexError:
        return
    call()


def wait_until_empty(members: set[Any], waiting: deque[Callable[[], object]], limit: float | None = None) -> bool:
    """Block until `members` is empty. False: `limit` seconds have passed before."""
    end = None if limit is None else time.monotonic() + limit
    while members:
        bell = allocate_lock()
        bell.acquire()
        waiting.append(bell.release)
        try:
            # Empty at one moment is not empty at the next: who rings does not know who has come since.
            if members and not bell.acquire(True, -1 if end is None else seconds_until(end)):
                return False
        finally:
            forget(waiting, bell.release)
    return True


def seconds_until(end: float) -> float:
    """What a lock takes as its timeout."""
    return min(max(0.0, end - time.monotonic()), threading.TIMEOUT_MAX)


def forget(waiting: deque[Callable[[], object]], call: Callable[[], object]) -> None:
    """It need not be called any more."""
    with contextlib.suppress(ValueError):
        waiting.remove(call)


def _at_exit() -> None:
    """Finish what is queued and running, as concurrent.futures does. A task that waits for what no Executor is going to
    do is cancelled: the process must end."""
    global _exiting
    with _starting:
        _exiting = True
        pools = list(_with_threads)
    for pool in pools:
        pool.close(AT_EXIT)
    for pool in pools:
        for thread in list(pool.threads):
            while thread.is_alive():
                thread.join(0.02)
                left = [future for each in pools for future in list(each.unfinished)]
                if left and all(future._place() == "suspended" for future in left):
                    for future in left:
                        future.cancel()
    for one in unheard():
        one.tell()


def _after_fork() -> None:
    """The workers are not in the child: say so instead of waiting for them."""
    _starting._at_fork_reinit()  # type: ignore[attr-defined]
    for pool in list(_with_threads):
        pool.closed = "this executor belongs to the parent process: make a new one in the child"
        pool.unfinished.clear()
        pool.working.clear()
    _with_threads.clear()


# Before labtether's engine registers its own, at the first use of a link: hooks run in reverse, so work that is blocked
# in a query is let go before its thread is joined here.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
os.register_at_fork(before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_after_fork)
