"""Failures of an `Executor`'s work that nobody looked at, and what is kept of work that has ended."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from concurrent.futures import as_completed, wait
from typing import Any

import pytest

from labtether._executor import Executor
from support.executors import SOON, Oops, fail


def test_join_raises_the_failures_that_nobody_looked_at_and_only_once() -> None:
    with Executor(2) as executor:
        executor.submit(fail, "thrown away")
        held, seen = executor.submit(fail, "held"), executor.submit(fail, "seen")
        with pytest.raises(Oops, match="seen"):
            seen.result()
        with pytest.raises(ExceptionGroup, match=r"2 failures in .* that nobody has looked at") as caught:
            executor.join(SOON)
        assert sorted(map(str, caught.value.exceptions)) == ["held", "thrown away"]
        executor.join(SOON)
        with pytest.raises(Oops):
            held.result()


@pytest.mark.parametrize("look", ["result", "exception", "callback", "late callback", "as_completed", "wait"])
def test_a_failure_that_somebody_looked_at_is_nobody_elses_business(
    look: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def late_failure() -> None:
        gate.wait(SOON)
        fail()

    with Executor(1) as executor:
        future = executor.submit(late_failure)
        if look == "callback":
            future.add_done_callback(id)
        gate.set()
        if look == "result":
            with pytest.raises(Oops):
                future.result()
        elif look == "exception":
            assert isinstance(future.exception(), Oops)
        elif look == "as_completed":
            assert list(as_completed([future])) == [future]
        elif look == "wait":
            assert wait([future]).done == {future}
        elif look == "late callback":
            while not future.done():
                pass
            future.add_done_callback(id)
        executor.join(SOON)
    del future
    gc.collect()
    assert not caplog.records


def test_looking_whether_it_is_done_is_not_looking_at_its_failure() -> None:
    with Executor(1) as executor:
        future = executor.submit(fail)
        while not future.done():
            pass
        assert "raised Oops" in repr(future)
        assert not future.cancelled()
        assert not future.running()
        with pytest.raises(ExceptionGroup):
            executor.join(SOON)


def test_without_a_join_a_failure_is_logged_once_when_its_future_is_collected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Executor(1, name="lab") as executor:
        future = executor.submit(fail, "unseen")
    assert not caplog.records, "somebody may still look"
    del future
    gc.collect()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("labtether.executor", logging.ERROR)
    assert record.getMessage() == "lab: nobody looked at the failure of fail: Oops('unseen')"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Oops)


def test_a_failure_in_a_cycle_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    with Executor(1) as executor:
        future: Any = executor.submit(fail, "in a cycle")
        future.itself = future
        del future
    del executor
    gc.collect()
    assert "in a cycle" in caplog.text


def test_nothing_is_kept_of_work_that_has_ended() -> None:
    class Thing:
        def method(self, other: Any) -> None:
            self.other = other

    with Executor(1) as executor:
        thing, gone = Thing(), threading.Event()
        weakref.finalize(thing, gone.set)
        future = executor.submit(thing.method, Thing())
        del thing
        assert gone.wait(SOON), "the future keeps the call"
        assert future.done()


def test_a_failed_future_is_collected_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        with Executor(1) as executor:
            future = executor.submit(fail)
            gone = threading.Event()
            weakref.finalize(future, gone.set)
            try:
                future.result()  # pytest.raises would keep a reference of its own
            except Oops:
                executor.join()
            del future
            assert gone.wait(SOON), "it and its error are a cycle"
    finally:
        gc.enable()
