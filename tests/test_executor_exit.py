"""`Executor` at the ends of things: interrupts, the end of the process, fork."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from labtether._executor import Executor
from support import Child, run_child
from support.executors import SOON

SETUP = """
    import logging, threading
    from concurrent.futures import Future
    from labtether._executor import Executor, until_done
    logging.basicConfig()
"""


@pytest.mark.parametrize("call", ["executor.join()", "future.result()", "executor.shutdown()"])
def test_ctrl_c_ends_a_wait_and_not_the_work(call: str) -> None:
    code = f"""{SETUP}
    gate = threading.Event()
    def hold():
        print("running\\n", end="")
        gate.wait()
        return 5
    executor = Executor(1)
    future = executor.submit(hold)
    try:
        print("waiting\\n", end="")
        {call}
    except KeyboardInterrupt:
        gate.set()
        print("interrupted", future.result())
    executor.shutdown()
    """
    with Child(code) as child:
        assert {child.line(), child.line()} == {"running", "waiting"}
        child.signal(signal.SIGINT)
        finished = child.finish()
    assert finished.stdout.split("\n")[-2] == "interrupted 5"


STORM = f"""{SETUP}
    import random, signal

    armed = False

    def interrupt(_signal, _frame):
        if armed:  # a signal may come after its timer has been taken back
            raise KeyboardInterrupt

    def in_a_moment(most):
        global armed
        armed = True
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, most))

    chance = random.Random(7)
    signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
"""
"""In a process of its own: what else runs in a test's own, such as callbacks of the collector, swallows interrupts."""


def test_an_interrupt_anywhere_in_submit_leaves_the_counts_right() -> None:
    code = f"""{STORM}
    ran = []
    accepted = 0
    with Executor(1) as executor:
        executor.submit(int).result()
        for _ in range(5000):
            try:
                in_a_moment(2e-5)
                while True:
                    executor.submit(ran.append, None)
                    accepted += 1
            except KeyboardInterrupt:
                interrupted += 1
        executor.join(30)
        print(len(executor._pool.unfinished), executor._pool.queue.qsize())
    # One that was interrupted on its way out of submit ran too, though nobody has its future.
    print(interrupted, accepted <= len(ran) <= accepted + interrupted)
    """
    assert run_child(code).stdout.split() == ["0", "0", "5000", "True"]


def test_an_interrupt_while_a_thread_starts_leaves_neither_a_thread_nor_work() -> None:
    code = f"""{STORM}
    for _ in range(500):
        executor = Executor(1)
        try:
            try:
                in_a_moment(5e-4)
                executor.submit(int).result()
            finally:
                armed = False
        except KeyboardInterrupt:
            interrupted += 1
        executor.join(30)
        executor.shutdown()
        assert not any(thread.is_alive() for thread in executor._threads)
    print(interrupted > 50)
    # A thread that starts when it is not wanted any more goes at once.
    while threading.active_count() > 1:
        pass
    """
    assert run_child(code).stdout.split() == ["True"]


def test_the_end_of_the_process_finishes_what_is_queued() -> None:
    code = f"""{SETUP}
    gate = threading.Event()
    executor = Executor(1)
    executor.submit(gate.wait)
    for number in range(3):
        executor.submit(print, number)
    def task(future):
        yield from until_done(future)
        print("task")
    executor.submit(task, executor.submit(int))
    def release():
        while not executor._shutdown:
            pass
        gate.set()
    threading.Thread(target=release).start()
    """
    finished = run_child(code)
    assert finished.stdout.split() == ["0", "1", "2", "task"]
    assert finished.stderr == ""


def test_a_task_that_waits_for_what_nobody_does_is_closed_at_the_end_of_the_process() -> None:
    code = f"""{SETUP}
    def task():
        try:
            yield from until_done(Future())
        finally:
            print("closed")
    executor = Executor(1)
    future = executor.submit(task)
    while future._place() != "suspended":
        pass
    """
    finished = run_child(code)
    assert finished.stdout.split() == ["closed"]
    assert finished.stderr == ""


def test_failures_that_nobody_looked_at_are_told_at_the_end_of_the_process() -> None:
    code = f"""{SETUP}
    executor = Executor(1, name="lab")
    def fail():
        raise ValueError("unseen")
    future = executor.submit(fail)
    """
    assert "lab: nobody looked at the failure of fail: ValueError('unseen')" in run_child(code).stderr


def test_work_cannot_be_submitted_at_the_end_of_the_process() -> None:
    code = f"""{SETUP}
    import atexit
    def late():
        for one in (executor, Executor(1)):
            try:
                one.submit(int)
            except RuntimeError as error:
                print(error)
    atexit.register(late)
    executor = Executor(1)
    executor.submit(int).result()
    """
    assert run_child(code).stdout.splitlines() == ["cannot schedule new futures after interpreter shutdown"] * 2


def test_threads_that_are_blocked_in_a_query_are_let_go_before_they_are_joined() -> None:
    code = f"""{SETUP}
    import labtether as lt
    reached = threading.Event()
    def ask():
        with lt.link("sim://balance").sync as balance:
            reached.set()
            balance.receive(timeout=1000)
    executor = Executor(1)
    future = executor.submit(ask)
    reached.wait()
    """
    assert "nobody looked at the failure of ask: Link" in run_child(code).stderr


def test_a_forked_child_is_told_that_the_workers_are_not_there_and_can_make_its_own() -> None:
    gate = threading.Event()
    with Executor(2) as executor:
        held = executor.submit(gate.wait, SOON)
        unused = Executor(1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                try:
                    executor.submit(int)
                except RuntimeError as error:
                    code = 2 if "parent process" in str(error) else 3
                executor.join(1)
                executor.shutdown()
                with Executor(1) as own:
                    if code == 2 and own.submit(pow, 2, 3).result(SOON) == 8 == unused.submit(pow, 2, 3).result(SOON):
                        code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        gate.set()
        assert held.result(SOON)
