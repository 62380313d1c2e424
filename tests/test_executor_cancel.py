"""Cancelling a task of an `Executor` at every step: it is closed, it ends, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest

from labtether._executor import Executor, until_done
from support.executors import SOON, Oops, Task, fail, place, until_suspended


def waits_for(future: Future[Any], log: list[Any]) -> Task:
    """Writes down how its wait ended."""
    try:
        log.append((yield from until_done(future)))
    except BaseException as error:
        log.append(type(error))
        raise
    finally:
        log.append("finally")
    return "returned"


def test_a_task_that_is_queued_is_cancelled_before_it_begins() -> None:
    gate, log = threading.Event(), list[Any]()
    with Executor(1) as executor:
        executor.submit(gate.wait, SOON)
        future = executor.submit(waits_for, Future(), log)
        assert future.cancel()
        assert future.cancelled()
        gate.set()
        executor.join(SOON)
    assert log == []


def test_a_task_that_runs_cannot_be_cancelled() -> None:
    gate, reached = threading.Event(), threading.Event()

    def task() -> Iterator[Any]:
        yield from until_done([])
        reached.set()
        gate.wait(SOON)

    with Executor(1) as executor:
        future = executor.submit(task)
        assert reached.wait(SOON)
        assert not future.cancel()
        gate.set()
        assert future.result(SOON) is None


def test_a_suspended_task_that_is_cancelled_is_closed_on_a_worker_and_ends_as_cancelled() -> None:
    where: list[str] = []

    def task() -> Task:
        try:
            yield from until_done(never)
        except GeneratorExit:
            where.append(threading.current_thread().name)
            raise

    never: Future[None] = Future()
    heard = threading.Event()
    with Executor(1, "worker") as executor:
        future = executor.submit(task)
        future.add_done_callback(lambda _: heard.set())
        until_suspended(future)
        assert future.cancel()
        assert future.cancel(), "a second time changes nothing"
        with pytest.raises(CancelledError):
            future.result(SOON)
        assert future.cancelled()
        assert heard.wait(SOON)
        assert where == ["worker_0"]
        executor.join(SOON)
        never.set_result(None)  # comes too late, and harms nobody
        assert executor.submit(pow, 2, 3).result(SOON) == 8


def test_a_task_that_is_about_to_resume_is_cancelled_instead() -> None:
    gate, reached, log = threading.Event(), threading.Event(), list[Any]()
    outside: Future[None] = Future()

    def hold() -> None:
        reached.set()
        gate.wait(SOON)

    with Executor(1) as executor:
        future = executor.submit(waits_for, outside, log)
        until_suspended(future)
        executor.submit(hold)
        assert reached.wait(SOON)
        outside.set_result(None)
        assert place(future) == "queued"
        assert future.cancel()
        gate.set()
        with pytest.raises(CancelledError):
            future.result(SOON)
        executor.join(SOON)
    assert log == [GeneratorExit, "finally"]


def test_a_task_whose_wait_ends_while_it_is_being_cancelled_is_closed_once() -> None:
    gate, reached, log = threading.Event(), threading.Event(), list[Any]()
    outside: Future[None] = Future()

    def hold() -> None:
        reached.set()
        gate.wait(SOON)

    with Executor(1) as executor:
        future = executor.submit(waits_for, outside, log)
        until_suspended(future)
        executor.submit(hold)
        assert reached.wait(SOON)
        assert future.cancel()
        outside.set_result(None)
        gate.set()
        executor.join(SOON)
        assert future.cancelled()
        assert executor.submit(int).result(SOON) == 0
        executor.join(SOON)
        assert repr(executor).endswith(" 3 done>"), "nothing had a turn too many"
    assert log == [GeneratorExit, "finally"]


def test_what_a_closed_task_raises_instead_is_its_outcome() -> None:
    def task() -> Task:
        try:
            yield from until_done(Future())
        finally:
            fail()

    def wait_again() -> Task:
        try:
            yield from until_done(Future())
        finally:
            yield from until_done(Future())

    with Executor(1) as executor:
        for function, kind in ((task, Oops), (wait_again, RuntimeError)):
            future = executor.submit(function)
            until_suspended(future)
            assert future.cancel()
            with pytest.raises(kind):
                future.result(SOON)


def test_a_task_that_waits_for_what_is_cancelled_gets_it_raised_and_ends_as_cancelled() -> None:
    log: list[Any] = []
    with Executor(1) as executor:
        outside: Future[None] = Future()
        inner = executor.submit(waits_for, outside, log)
        outer = executor.submit(waits_for, inner, log)
        until_suspended(outer)
        outside.cancel()
        with pytest.raises(CancelledError):
            outer.result(SOON)
        assert inner.cancelled()
        assert outer.cancelled()
        executor.join(SOON)  # a cancellation is no failure
    assert log == [CancelledError, "finally"] * 2


def test_a_task_may_catch_the_cancellation_of_what_it_waits_for() -> None:
    def task() -> Task:
        try:
            yield from until_done(outside)
        except CancelledError:
            return "went on"

    outside: Future[None] = Future()
    with Executor(1) as executor:
        future = executor.submit(task)
        until_suspended(future)
        outside.cancel()
        assert future.result(SOON) == "went on"


def test_a_task_that_resumes_in_a_broken_pool_gets_that_raised(caplog: pytest.LogCaptureFixture) -> None:
    begun = threading.Semaphore(1)
    broken, log = threading.Event(), list[Any]()
    outside: Future[None] = Future()

    def initializer() -> None:
        if not begun.acquire(blocking=False):
            broken.set()
            fail()

    busy, meeting = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        meeting.wait(SOON)

    with Executor(2, initializer=initializer) as executor:
        future = executor.submit(waits_for, outside, log)
        until_suspended(future)
        executor.submit(hold)
        assert busy.wait(SOON)
        executor.submit(int)
        assert broken.wait(SOON)
        while not executor._broken:
            pass
        outside.set_result(None)  # the good worker is busy
        assert isinstance(future.exception(SOON), BrokenThreadPool)
        meeting.set()
        assert log == [BrokenThreadPool, "finally"]
