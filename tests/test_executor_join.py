"""`Executor.join()`: until all work, and all work that it submits, has ended."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from labtether._executor import Executor
from support.executors import SOON, Gate


def test_join_waits_for_all_that_the_work_submits_a_tree_search() -> None:
    found: list[int] = []
    lock = threading.Lock()

    def search(node: int) -> None:
        if node < 4096:
            executor.submit(search, 2 * node)
            executor.submit(search, 2 * node + 1)
        with lock:
            found.append(node)

    with Executor(3) as executor:
        executor.submit(search, 1)
        executor.join(SOON)
        assert sorted(found) == list(range(1, 8192))
        assert repr(executor).endswith(" 8191 done>")


def test_join_waits_for_what_a_callback_submits() -> None:
    gate, ran = Gate(), threading.Event()
    with Executor(1) as executor:
        future = executor.submit(gate)
        future.add_done_callback(lambda _: executor.submit(ran.set))
        gate.open.set()
        executor.join(SOON)
        assert ran.is_set()


def test_join_that_times_out_names_what_is_left_and_the_work_goes_on() -> None:
    gate = Gate()
    with Executor(1, name="lab") as executor:
        executor.submit(gate)
        for _ in range(2):
            executor.submit(partial(pow, 2), 3)
        assert gate.is_reached()
        with pytest.raises(TimeoutError, match=r"^lab has not finished within 0 s: 3 left: .*pow x 2.*"):
            executor.join(0)
        with pytest.raises(TimeoutError, match="Gate"):
            executor.join(0.001)
        assert not executor._pool.joiners, "who gave up is forgotten"
        gate.open.set()
        executor.join(SOON)
        executor.join(float("inf"))


def test_several_may_join_at_once() -> None:
    gate = Gate()
    with Executor(1) as executor:
        executor.submit(gate)
        threads = [threading.Thread(target=executor.join) for _ in range(5)]
        for thread in threads:
            thread.start()
        while len(executor._pool.joiners) < 5:
            pass
        gate.open.set()
        for thread in threads:
            thread.join(SOON)
            assert not thread.is_alive()


def test_who_is_woken_too_early_goes_on_joining() -> None:
    gate = Gate()
    with Executor(1) as executor:
        executor.submit(gate)
        joiner = threading.Thread(target=executor.join)
        joiner.start()
        while not executor._pool.joiners:
            pass
        executor._pool.converged()  # of work that ended before
        while not executor._pool.joiners:
            assert joiner.is_alive()
        gate.open.set()
        joiner.join(SOON)
        assert not joiner.is_alive()


@pytest.mark.parametrize("method", ["join", "shutdown"])
def test_a_worker_that_waits_for_its_own_executor_is_told_at_once(method: str) -> None:
    with Executor(2) as executor:
        with pytest.raises(RuntimeError, match=r"in a worker of .* would wait for its own end"):
            executor.submit(getattr(executor, method)).result(SOON)
