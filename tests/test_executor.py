"""`Executor` as a pool: results, workers, arguments, `join()`, and what submit leaves behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed, wait
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest

from labtether._executor import Executor
from support.executors import SOON, Gate, Oops, fail


def name_of_thread() -> str:
    return threading.current_thread().name


def test_it_is_what_asyncio_takes_for_its_default_executor() -> None:
    async def main() -> str:
        asyncio.get_running_loop().set_default_executor(Executor(1, "default"))
        return await asyncio.to_thread(name_of_thread)

    assert asyncio.run(main()) == "default_0"


def test_its_futures_can_be_awaited_through_asyncio() -> None:
    async def main(executor: Executor) -> None:
        assert await asyncio.wrap_future(executor.submit(pow, 2, 5)) == 32
        with pytest.raises(Oops):
            await asyncio.wrap_future(executor.submit(fail))

    with Executor(1) as executor:
        asyncio.run(main(executor))


def test_wait_and_as_completed_take_its_futures_among_others() -> None:
    gate = Gate()
    with Executor(2) as executor, ThreadPoolExecutor(1) as other:
        held, quick, foreign = executor.submit(gate, 1), executor.submit(pow, 2, 3), other.submit(pow, 2, 4)
        done, left = wait([held, quick, foreign], timeout=SOON, return_when="FIRST_COMPLETED")
        assert held in left
        assert done
        completed = as_completed([held, quick, foreign], timeout=SOON)
        assert {next(completed).result(), next(completed).result()} == {8, 16}
        gate.open.set()
        assert next(completed) is held


def test_waiters_hear_of_a_queued_future_that_shutdown_cancels() -> None:
    gate = Gate()
    executor = Executor(1)
    executor.submit(gate)
    assert gate.is_reached()
    queued = executor.submit(pow, 2, 3)
    heard = threading.Event()

    def wait_and_say() -> None:
        wait([queued])
        heard.set()

    waiter = threading.Thread(target=wait_and_say)
    waiter.start()
    while not queued._waiters:
        pass
    executor.shutdown(wait=False, cancel_futures=True)
    assert heard.wait(SOON), "while the only worker is busy"
    gate.open.set()
    executor.shutdown()
    waiter.join()


def test_two_threads_may_wait_for_one_result() -> None:
    gate = Gate()
    with Executor(1) as executor:
        future = executor.submit(gate, "value")
        results: list[Any] = []
        threads = [threading.Thread(target=lambda: results.append(future.result())) for _ in range(2)]
        for thread in threads:
            thread.start()
        with pytest.raises(TimeoutError):
            future.result(0)
        with pytest.raises(TimeoutError):
            future.exception(0.001)
        while len(getattr(future, "_sleepers", None) or ()) != 2:
            assert all(thread.is_alive() for thread in threads), "who gave up is forgotten, the others are not"
        gate.open.set()
        for thread in threads:
            thread.join()
    assert results == ["value", "value"]


def test_a_worker_that_is_free_is_used_before_a_new_one() -> None:
    with Executor(8) as executor:
        for number in range(1000):
            assert executor.submit(pow, number, 1).result() == number
        assert len(executor._threads) == 1


def test_a_callback_may_block_on_new_work_of_its_own_pool() -> None:
    heard = threading.Event()
    with Executor(2) as executor:

        def ask_again(_: Future[Any]) -> None:
            if executor.submit(pow, 2, 2).result(SOON) == 4:
                heard.set()

        gate = Gate()
        future = executor.submit(gate)
        future.add_done_callback(ask_again)
        gate.open.set()
        assert heard.wait(SOON), "the worker of the callback was taken for an idle one"


def test_work_that_waits_for_work_gets_as_many_workers_as_allowed() -> None:
    meeting = threading.Barrier(4)
    with Executor(4) as executor:
        executor.submit(pow, 1, 1).result()
        futures = [executor.submit(meeting.wait, SOON) for _ in range(4)]
        assert sorted(future.result() for future in futures) == [0, 1, 2, 3]


def test_a_callback_that_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    gate, heard = Gate(), threading.Event()
    with Executor(1) as executor:
        future = executor.submit(gate, 5)

        def leave(_: Future[Any]) -> None:
            raise SystemExit

        future.add_done_callback(lambda _: fail())
        future.add_done_callback(leave)
        future.add_done_callback(lambda _: heard.set())
        gate.open.set()
        assert heard.wait(SOON)
        assert executor.submit(pow, 2, 3).result() == 8
        assert len(executor._threads) == 1, "the worker survived"
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, Oops])
def test_whatever_work_raises_is_its_futures_and_the_worker_goes_on(kind: type[BaseException]) -> None:
    def leave() -> None:
        raise kind

    with Executor(1) as executor:
        future = executor.submit(leave)
        with pytest.raises(kind):
            future.result()
        assert executor.submit(name_of_thread).result() == executor.submit(name_of_thread).result()


def test_an_error_carries_the_frames_of_the_work_and_none_of_ours() -> None:
    with Executor(1) as executor:
        error = executor.submit(fail).exception()
    assert error is not None
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_code is fail.__code__


def test_a_plain_function_sees_what_the_initializer_set_in_its_thread() -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    with Executor(1, initializer=variable.set, initargs=("initialized",)) as executor:
        assert executor.submit(variable.get).result() == "initialized"


def test_an_initializer_that_fails_breaks_the_pool_with_its_error_as_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()

    def initializer() -> None:
        gate()
        raise Oops

    with Executor(1, initializer=initializer) as executor:
        futures = [executor.submit(pow, 2, number) for number in range(3)]
        assert gate.is_reached()
        gate.open.set()
        for future in futures:
            with pytest.raises(BrokenThreadPool) as caught:
                future.result(SOON)
            assert isinstance(caught.value.__cause__, Oops)
        with pytest.raises(BrokenThreadPool):
            executor.submit(pow, 2, 2)
        executor.join(SOON)
        assert "broken" in repr(executor)
    assert "Exception in initializer" in caplog.text


def test_a_submit_that_overtakes_a_failing_initializer_is_refused_and_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Executor(1, initializer=fail) as executor:
        first = executor.submit(pow, 2, 2)
        assert isinstance(first.exception(SOON), BrokenThreadPool)
        # As if the check had been passed just before the initializer failed.
        executor._pool.broken, error = None, executor._pool.broken
        late = executor.submit(pow, 2, 3)
        executor._pool.broken = error
        assert isinstance(late.exception(SOON), BrokenThreadPool)


def test_when_no_thread_can_be_started_nothing_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    with Executor(1) as executor:
        with monkeypatch.context() as patch:
            start = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
            patch.setattr(threading, start, lambda *_, **__: fail_to_start())
            with pytest.raises(RuntimeError, match="can't start new thread"):
                executor.submit(ran.append, 1)
        assert repr(executor) == f"<Executor {executor.name}, 0 of 1 workers busy, 0 queued, 0 done>"
        executor.join(0)
        executor.submit(ran.append, 2)
        executor.join(SOON)
    assert ran == [2]


def fail_to_start() -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "text"),
    [
        ((0,), {}, ValueError, "max_workers must be greater than 0, not 0"),
        ((True,), {}, TypeError, "max_workers is an int, not bool"),
        ((2.5,), {}, TypeError, "max_workers is an int, not float"),
        ((1, 5), {}, TypeError, "thread_name_prefix is a str, not int"),
        ((1, "", 5), {}, TypeError, "initializer must be a callable"),
        ((1, "", print, 5), {}, TypeError, "not iterable"),
        ((1,), {"name": ""}, ValueError, "name is empty"),
        ((1,), {"name": 5}, TypeError, "name is a str, not int"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(
    arguments: tuple[Any, ...], options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        Executor(*arguments, **options)


def test_bad_arguments_of_its_methods_are_refused_at_the_call() -> None:
    with Executor(1) as executor:
        with pytest.raises(TypeError, match="submit wants a callable, not int"):
            executor.submit(5)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="not negative"):
            executor.join(-1)
        with pytest.raises(TypeError, match="number of seconds"):
            executor.join("1")  # type: ignore[arg-type]


def test_its_repr_says_what_it_is_doing() -> None:
    gate = Gate()
    with Executor(2, name="lab") as executor:
        assert repr(executor) == "<Executor lab, 0 of 2 workers busy, 0 queued, 0 done>"
        for _ in range(5):
            executor.submit(gate)
        assert gate.is_reached()
        assert gate.is_reached()
        assert repr(executor) == "<Executor lab, 2 of 2 workers busy, 3 queued, 0 done>"
        assert name_in(executor) == {"lab_0", "lab_1"}
        gate.open.set()
        executor.join(SOON)
        assert repr(executor) == "<Executor lab, 0 of 2 workers busy, 0 queued, 5 done>"
    assert repr(executor) == "<Executor lab, shut down, 0 of 2 workers busy, 0 queued, 5 done>"


def name_in(executor: Executor) -> set[str]:
    return {thread.name for thread in executor._threads}


def test_a_future_that_others_end_is_ended_once() -> None:
    gate = Gate()
    with Executor(1) as executor:
        future, queued = executor.submit(gate, "late"), executor.submit(gate, "late")
        assert gate.is_reached()
        queued.set_result("early")
        with pytest.raises(Exception, match="FINISHED") as caught:
            queued.set_result("twice")
        assert type(caught.value).__name__ == "InvalidStateError"
        gate.open.set()
        executor.join(SOON)
        assert (future.result(), queued.result()) == ("late", "early")


def test_a_queued_future_can_be_cancelled_and_a_running_one_cannot() -> None:
    gate, heard = Gate(), list[Any]()
    with Executor(1) as executor:
        running, queued = executor.submit(gate), executor.submit(gate)
        queued.add_done_callback(heard.append)
        assert gate.is_reached()
        sleeper_heard = threading.Event()

        def sleep() -> None:
            with pytest.raises(CancelledError):
                queued.result(SOON)
            sleeper_heard.set()

        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        while not getattr(queued, "_sleepers", None):
            pass
        assert not running.cancel()
        assert queued.cancel()
        assert queued.cancel()
        assert queued.cancelled()
        assert queued.done()
        assert heard == [queued]
        assert sleeper_heard.wait(SOON)
        sleeper.join()
        with pytest.raises(CancelledError):
            queued.exception()
        gate.open.set()
        executor.join(SOON)
        assert not running.cancel()
        assert not running.cancelled()
