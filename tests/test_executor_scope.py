"""`Executor` as a scope: whatever ends it, in whichever state, everything that was accepted has ended and no thread is
left. The leak gate looks after each of these tests."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

import anyio
import pytest

from labtether._executor import Executor, until_done
from support.executors import SOON, Oops, fail


def wait_for(future: Future[Any]) -> Generator[Any, None, Any]:
    return (yield from until_done(future))


def until_place(future: Future[Any], place: str) -> None:
    while future._place() != place:  # type: ignore[attr-defined]
        assert not future.done()


class Busy:
    """An executor of one worker with one piece of work in each state."""

    def __init__(self) -> None:
        self.gate, reached = threading.Event(), threading.Event()
        self.executor = Executor(1, name="lab")
        self.outside: Future[str] = Future()
        self.suspended = self.executor.submit(wait_for, self.outside)
        until_place(self.suspended, "suspended")

        def hold() -> str:
            reached.set()
            assert self.gate.wait(SOON)
            return "ran"

        self.running = self.executor.submit(hold)
        assert reached.wait(SOON)
        self.queued = self.executor.submit(pow, 2, 3)
        self.waits_for_queued = self.executor.submit(wait_for, self.queued)


def test_shutdown_finishes_what_is_queued_running_and_suspended() -> None:
    busy = Busy()
    assert repr(busy.executor) == "<Executor lab, 1 of 1 workers busy, 2 queued, 1 suspended, 0 done>"
    busy.executor.shutdown(wait=False)
    assert repr(busy.executor) == "<Executor lab, shutting down, 1 of 1 workers busy, 2 queued, 1 suspended, 0 done>"
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        busy.executor.submit(pow, 2, 3)
    busy.gate.set()
    assert busy.waits_for_queued.result(SOON) == 8
    busy.outside.set_result("at last")
    busy.executor.shutdown()
    assert [busy.running.result(0), busy.queued.result(0), busy.suspended.result(0)] == ["ran", 8, "at last"]
    assert not any(thread.is_alive() for thread in busy.executor._threads)
    assert repr(busy.executor).startswith("<Executor lab, shut down, ")


def test_shutdown_that_cancels_leaves_what_has_begun_to_its_end() -> None:
    busy = Busy()
    waits_for_running = busy.suspended
    busy.executor.shutdown(wait=False, cancel_futures=True)
    assert busy.queued.cancelled()
    assert busy.waits_for_queued.cancelled()
    busy.gate.set()
    busy.outside.set_result("at last")
    busy.executor.shutdown()
    assert busy.running.result(0) == "ran"
    assert waits_for_running.result(0) == "at last"


def test_shutdown_that_cancels_ends_the_tasks_that_wait_for_what_is_cancelled() -> None:
    gate, reached, inner = threading.Event(), threading.Event(), list[Future[Any]]()

    def outer() -> Generator[Any, None, None]:
        inner.append(executor.submit(pow, 2, 3))
        yield from until_done(inner[0])

    def hold() -> None:
        reached.set()
        gate.wait(SOON)

    executor = Executor(1)
    # Both are queued when the first is taken, so that the worker holds before it comes to `inner`.
    first = executor.submit(threading.Event().wait, 0.0)
    future, _ = executor.submit(outer), executor.submit(hold)
    first.result(SOON)
    assert reached.wait(SOON)
    until_place(future, "suspended")
    executor.shutdown(wait=False, cancel_futures=True)
    gate.set()
    executor.shutdown()
    assert inner[0].cancelled()
    assert future.cancelled()


@pytest.mark.parametrize("cancel_futures", [False, True])
def test_shutdown_of_an_executor_that_never_worked_and_a_second_time(cancel_futures: bool) -> None:
    executor = Executor()
    for _ in range(2):
        executor.shutdown(cancel_futures=cancel_futures)
    assert not executor._threads
    executor.join(0)


def test_with_behaves_as_that_of_a_thread_pool_and_raises_no_failure_of_the_work() -> None:
    with Executor(2) as executor:
        futures = [executor.submit(fail) for _ in range(5)]
    assert all(isinstance(future.exception(), Oops) for future in futures)
    with pytest.raises(RuntimeError):
        executor.submit(pow, 2, 3)


def test_work_cannot_keep_an_executor_open_that_is_shut_down() -> None:
    gate = threading.Event()

    def again() -> None:
        gate.wait(SOON)
        executor.submit(again)

    with Executor(1) as executor:
        future = executor.submit(again)
        executor.shutdown(wait=False)
        gate.set()
    assert isinstance(future.exception(), RuntimeError)


def test_a_forgotten_executor_finishes_its_work_and_its_threads_end() -> None:
    gate = threading.Event()
    executor = Executor(2)
    outside: Future[int] = Future()
    futures = [executor.submit(gate.wait, SOON), executor.submit(wait_for, outside), executor.submit(pow, 2, 3)]
    threads = list(executor._threads)
    del executor
    gc.collect()
    gate.set()
    outside.set_result(1)
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()
    assert [future.result(0) for future in futures] == [True, 1, 8]


def test_threads_that_are_idle_end_when_their_executor_is_forgotten() -> None:
    executor = Executor(3)
    meeting = threading.Barrier(3)
    list(executor.map(lambda _: meeting.wait(SOON), range(3)))
    threads = list(executor._threads)
    del executor
    gc.collect()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


# The scope of asynchronous code.


async def test_the_end_of_async_with_waits_for_all_that_the_work_submits() -> None:
    found: list[int] = []

    def search(node: int) -> Generator[Any, None, int]:
        found.append(node)
        if node >= 512:
            return 1
        left, right = yield from until_done(executor.submit(search, 2 * node), executor.submit(search, 2 * node + 1))
        return 1 + int(left) + int(right)

    async with Executor(2) as executor:
        future = executor.submit(search, 1)
    assert future.result(0) == len(found) == 1023
    assert not any(thread.is_alive() for thread in executor._threads)


async def test_the_loop_runs_while_joined_and_the_end_of_async_with_wait() -> None:
    gate = threading.Event()
    async with Executor(1) as executor:
        executor.submit(gate.wait, SOON)
        async with anyio.create_task_group() as group:
            group.start_soon(executor.joined)
            await anyio.lowlevel.checkpoint()
            gate.set()
        executor.join(0)
        gate.clear()
        executor.submit(gate.wait, SOON)

        async def later() -> None:
            gate.set()

        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(later)
    await group.__aexit__(None, None, None)


async def test_joined_that_is_cancelled_leaves_the_work_alone() -> None:
    gate = threading.Event()
    with Executor(1) as executor:
        future = executor.submit(gate.wait, SOON)
        with anyio.move_on_after(0.01) as scope:
            await executor.joined()
        assert scope.cancelled_caught
        assert not future.done()
        assert not executor._pool.joiners
        gate.set()
        await executor.joined()
        assert future.result(0)
        await executor.joined()


async def test_joined_and_the_end_of_async_with_raise_the_failures_nobody_looked_at() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with Executor(1) as executor:
            executor.submit(fail, "one")
            with pytest.raises(ExceptionGroup) as first:
                await executor.joined()
            executor.submit(fail, "two")
    assert [str(error) for error in first.value.exceptions] == ["one"]
    assert [str(error) for error in caught.value.exceptions] == ["two"]


async def test_the_blocks_own_error_wins_and_the_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError) as caught:
        async with Executor(1, name="lab") as executor:
            executor.submit(fail)
            ran = executor.submit(pow, 2, 3)
            raise KeyError
    assert caught.value.__notes__ == ["besides, 1 failure in lab that nobody has looked at; see the log"]
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == ["labtether.executor"]
    assert ran.result(0) == 8, "as with `with`, an error of the block does not stop the work"


@pytest.mark.parametrize("where", ["block", "end"])
async def test_a_cancelled_scope_cancels_what_is_queued_and_waits_for_what_runs(where: str) -> None:
    busy = Busy()
    busy.outside.set_result("at last")
    ended = []
    waiting = anyio.Event()

    async def scope() -> None:
        try:
            async with busy.executor:
                waiting.set()
                if where == "block":
                    await anyio.sleep_forever()
        finally:
            ended.append(busy.running.done() and not any(thread.is_alive() for thread in busy.executor._threads))

    async with anyio.create_task_group() as group:
        group.start_soon(scope)
        await waiting.wait()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            while not busy.queued.cancelled():
                await anyio.lowlevel.checkpoint()
            assert not ended, "the work still runs"
            busy.gate.set()
    assert ended == [True]
    assert busy.running.result(0) == "ran"
    assert busy.waits_for_queued.cancelled()


@pytest.mark.asyncio_only
async def test_a_task_that_is_cancelled_three_times_still_waits_for_what_runs() -> None:
    busy = Busy()
    busy.outside.set_result("at last")

    async def scope() -> None:
        async with busy.executor:
            pass

    task = asyncio.ensure_future(scope())
    for _ in range(3):
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    assert busy.queued.cancelled()
    busy.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(thread.is_alive() for thread in busy.executor._threads)


@pytest.mark.asyncio_only
async def test_a_coroutine_that_is_destroyed_in_the_scope_stops_it_without_a_wait() -> None:
    busy = Busy()
    busy.outside.set_result("at last")

    async def scope() -> None:
        async with busy.executor:
            await asyncio.get_running_loop().create_future()

    coroutine = scope()
    coroutine.send(None)
    coroutine.close()
    assert busy.queued.cancelled()
    busy.gate.set()
    busy.executor.shutdown()


async def test_a_worker_that_awaits_its_own_executor_is_told_at_once() -> None:
    async with Executor(1) as executor:
        future = executor.submit(lambda: asyncio.run(executor.joined()))
        with pytest.raises(RuntimeError, match="joined in a worker of"):
            future.result(SOON)
