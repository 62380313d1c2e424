"""Generator functions as tasks: `yield from until_done(...)` frees the worker, and whatever happens meanwhile the task
ends."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from labtether._executor import Executor, until_done
from support.executors import SOON, Oops, Task, fail, place, until_suspended


@pytest.mark.parametrize("workers", [1, 2])
def test_fibonacci_by_tasks_that_wait_for_tasks_of_their_own_pool(workers: int) -> None:
    def fibonacci(n: int) -> Task:
        if n < 2:
            return n
        one, other = yield from until_done(executor.submit(fibonacci, n - 1), executor.submit(fibonacci, n - 2))
        return one + other

    with Executor(workers) as executor:
        assert executor.submit(fibonacci, 15).result(SOON) == 610
        executor.join(SOON)
        assert "suspended" not in repr(executor)


def test_one_worker_holds_any_number_of_suspended_tasks() -> None:
    outside: Future[str] = Future()

    def wait() -> Task:
        return (yield from until_done(outside))

    with Executor(1, name="lab") as executor:
        futures = [executor.submit(wait) for _ in range(1000)]
        until_suspended(futures[-1])
        assert repr(executor) == "<Executor lab, 0 of 1 workers busy, 0 queued, 1000 suspended, 0 done>"
        assert executor.submit(pow, 2, 3).result(SOON) == 8, "the worker is free meanwhile"
        outside.set_result("now")
        assert {future.result(SOON) for future in futures} == {"now"}


def test_what_it_evaluates_to() -> None:
    def gather() -> Task:
        one, two = executor.submit(pow, 2, 1), other.submit(pow, 2, 2)
        assert (yield from until_done(one)) == 2
        assert (yield from until_done(two)) == 4, "a future of another executor"
        assert (yield from until_done(one, two)) == [2, 4]
        assert (yield from until_done([two])) == [4]
        assert (yield from until_done(future for future in (two, one, two))) == [4, 2, 4]
        assert (yield from until_done([])) == []
        assert (yield from until_done()) == []
        return "all"

    with ThreadPoolExecutor(1) as other, Executor(1) as executor:
        assert executor.submit(gather).result(SOON) == "all"


def test_it_goes_on_when_all_have_ended_not_when_one_has_failed() -> None:
    first, second = Future[None](), Future[None]()
    log: list[Any] = []

    def gather() -> Task:
        try:
            yield from until_done(first, second)
        except Oops:
            log.append(second.done())

    with Executor(1) as executor:
        future = executor.submit(gather)
        until_suspended(future)
        first.set_exception(Oops())
        executor.submit(int).result(SOON)
        assert place(future) == "suspended"
        assert not log
        second.set_result(None)
        future.result(SOON)
    assert log == [True]


def test_the_first_failure_in_their_order_is_raised_at_the_yield_and_can_be_caught() -> None:
    def gather() -> Task:
        late: Future[None] = Future()
        early = executor.submit(fail)
        futures = until_done(late, early)
        early.exception()
        late.set_exception(KeyError("first in their order"))
        try:
            yield from futures
        except KeyError:
            return (yield from until_done(executor.submit(pow, 2, 3)))

    with Executor(2) as executor:
        assert executor.submit(gather).result(SOON) == 8


def test_a_failure_that_is_not_caught_is_the_tasks_own() -> None:
    def outer() -> Task:
        yield from until_done(executor.submit(fail))

    with Executor(1) as executor:
        with pytest.raises(Oops):
            executor.submit(outer).result(SOON)
        executor.join(SOON)  # nobody has to be told of the inner one: the task looked


def test_the_second_failure_of_a_wait_is_not_silent() -> None:
    def two() -> Task:
        try:
            yield from until_done(executor.submit(fail), executor.submit(fail))
        except Oops:
            return "caught one"

    with Executor(1) as executor:
        assert executor.submit(two).result(SOON) == "caught one"
        with pytest.raises(ExceptionGroup, match="1 failure in"):
            executor.join(SOON)


@pytest.mark.parametrize(
    ("given", "text"),
    [(5, "yielded int; it may only wait"), (until_done(Future()), "yielded generator; write `yield from until_done")],
)
def test_a_task_that_yields_anything_else_gets_a_type_error(given: Any, text: str) -> None:
    def wrong() -> Task:
        with pytest.raises(TypeError, match=text):
            yield given
        return (yield from until_done(executor.submit(pow, 2, 3)))

    with Executor(1) as executor:
        assert executor.submit(wrong).result(SOON) == 8


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((5,), "wants futures, not int$"),
        ((Future(), 5), "wants futures of concurrent.futures, not int$"),
        (([5],), "wants futures of concurrent.futures, not int$"),
        ((print,), "not builtin_function_or_method; submit it first"),
    ],
)
def test_anything_but_futures_is_refused_at_the_call(given: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        until_done(*given)


def test_a_future_of_an_event_loop_is_refused_with_a_hint() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="run_coroutine_threadsafe"):
            until_done(asyncio.get_running_loop().create_future())

    asyncio.run(main())


def test_a_task_that_waits_for_itself_is_told() -> None:
    own: list[Future[Any]] = []
    ready = threading.Event()

    def wait() -> Task:
        ready.wait(SOON)
        yield from until_done(own)

    with Executor(1) as executor:
        own.append(executor.submit(wait))
        ready.set()
        with pytest.raises(RuntimeError, match="its own future"):
            own[0].result(SOON)


def test_a_generator_expression_is_a_value_as_in_any_pool() -> None:
    def squares() -> Any:
        return (n * n for n in range(3))

    with Executor(1) as executor:
        assert list(executor.submit(squares).result(SOON)) == [0, 1, 4]


def test_by_hand_the_next_step_blocks_until_the_futures_have_ended() -> None:
    gate = threading.Event()

    def double(future: Future[int]) -> Task:
        return 2 * (yield from until_done(future))

    with ThreadPoolExecutor(1) as other:
        task = double(other.submit(lambda: 21 * gate.wait(SOON)))
        assert repr(next(task)) == "<until_done of 1: submit this generator function to an lt.Executor>"
        gate.set()
        with pytest.raises(StopIteration) as stop:
            next(task)
    assert stop.value.value == 42


def test_a_task_keeps_one_context_over_all_its_steps() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    outside = [Future[None]() for _ in range(3)]

    def count(number: int) -> Task:
        seen = [variable.get()]
        variable.set(str(number))
        for future in outside:
            yield from until_done(future)
            seen.append(variable.get())
        return seen

    with Executor(3, initializer=variable.set, initargs=("initialized",)) as executor:
        futures = [executor.submit(count, number) for number in range(20)]
        for future in outside:
            until_suspended(futures[-1])
            future.set_result(None)
        for number, one in enumerate(futures):
            assert one.result(SOON) == ["initialized"] + [str(number)] * 3
        assert executor.submit(variable.get).result(SOON) == "initialized", "nothing leaks to plain functions"


def test_a_resumed_task_queues_up_at_the_back() -> None:
    outside: Future[None] = Future()
    order: list[str] = []
    gate, reached = threading.Event(), threading.Event()

    def task() -> Task:
        yield from until_done(outside)
        order.append("resumed")

    def hold() -> None:
        reached.set()
        gate.wait(SOON)

    with Executor(1) as executor:
        until_suspended(executor.submit(task))
        executor.submit(hold)
        assert reached.wait(SOON)
        executor.submit(order.append, "submitted before")
        outside.set_result(None)
        executor.submit(order.append, "submitted after")
        gate.set()
    assert order == ["submitted before", "resumed", "submitted after"]


def test_a_callback_chain_as_long_as_you_like_does_not_recurse() -> None:
    def wait_for(future: Future[int]) -> Task:
        return 1 + (yield from until_done(future))

    with Executor(1) as executor:
        first: Future[int] = Future()
        last = first
        for _ in range(5000):
            last = executor.submit(wait_for, last)
        first.set_result(0)
        assert last.result(SOON) == 5000
