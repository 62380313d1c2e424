"""`run_sync`: blocking code on a thread inside the scope: counted, named, never silently left behind."""

import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, forever, in_time, leaves, notes, nothing_left, until


class Gate:
    """Work that blocks until it may go on."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.reached.set()
        assert self.open.wait(30)
        return "through"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


async def test_it_returns_the_value_from_another_thread() -> None:
    async with in_time():
        assert await lt.run_sync(int, "7") == 7
        assert await lt.run_sync(threading.get_ident) != threading.get_ident()


async def test_it_raises_what_the_function_raises() -> None:
    def go_wrong() -> None:
        raise Oops("in a thread")

    async with in_time():
        with pytest.raises(Oops, match="in a thread"):
            await lt.run_sync(go_wrong)


async def test_the_loop_goes_on_meanwhile(gate: Gate) -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(lt.run_sync, gate)
        await until(gate.reached.is_set)
        assert not handle.done
        gate.open.set()
        assert await handle == "through"


async def test_it_sees_the_context_and_keeps_its_changes_to_itself() -> None:
    color = contextvars.ContextVar("color", default="none")

    def work() -> str:
        seen = color.get()
        color.set("thread's own")
        return seen

    async with in_time():
        color.set("red")
        assert await lt.run_sync(work) == "red"
        assert color.get() == "red"


async def test_it_is_in_the_tree_under_its_name(gate: Gate) -> None:
    async with in_time(), lt.open_nursery("run 7") as nursery:
        handle = nursery.start_soon(_named, gate)
        await until(gate.reached.is_set)
        found = nursery.tree().find("slow balance")
        assert found is not None
        assert found.kind == "thread"
        assert "slow balance" in [thread.name for thread in threading.enumerate()]
        assert "slow balance" in str(lt.lifecycle.tree())
        gate.open.set()
        await handle
        await until(lambda: nursery.tree().find("slow balance") is None)
    await nothing_left("run 7", "slow balance")


async def _named(gate: Gate) -> str:
    return await lt.run_sync(gate, name="slow balance")


async def test_a_cancelled_wait_waits_for_the_thread(gate: Gate) -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(lt.run_sync, gate)
        await until(gate.reached.is_set)
        handle.cancel("enough")
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert not handle.done
        gate.open.set()
        assert await handle.outcome() == lt.Cancelled("enough")


async def test_what_does_not_end_in_time_is_named(gate: Gate) -> None:
    async with in_time():
        with pytest.raises(lt.CleanupTimeout, match=r"slow balance did not end within 0\.01 s") as raised:
            await lt.run_sync(gate, timeout=0.01, name="slow balance")
        assert not isinstance(raised.value, TimeoutError)
        assert "slow balance" in str(raised.value.stuck)
        gate.open.set()


async def test_a_nursery_says_which_thread_it_leaves_running(gate: Gate) -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("run 7") as nursery:

                async def work() -> None:
                    await lt.run_sync(gate, cancel_timeout=0.01, name="slow balance")

                nursery.start_soon(work)
                await until(gate.reached.is_set)
                nursery.cancel()
        (error,) = raised.value.exceptions
        assert isinstance(error, lt.CleanupTimeout)
        assert error.stuck == ["slow balance"]
        assert "slow balance" in notes(error)
        gate.open.set()
    await nothing_left("run 7", "slow balance")


async def test_a_thread_that_was_given_up_and_ended_before_its_nursery_is_forgiven(gate: Gate) -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            with pytest.raises(lt.CleanupTimeout):
                await lt.run_sync(gate, timeout=0.01, name="slow balance")
            gate.open.set()
            await until(lambda: nursery.tree().find("slow balance") is None)
            await until(lambda: "slow balance" not in [thread.name for thread in threading.enumerate()])


async def test_a_given_up_thread_is_the_innermost_nurserys(gate: Gate) -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("outer"):
                async with lt.open_nursery("inner"):
                    with pytest.raises(lt.CleanupTimeout):
                        await lt.run_sync(gate, timeout=0.01)
        gate.open.set()
        assert len(leaves(raised.value)) == 1
        assert "'inner'" in str(leaves(raised.value)[0])


@pytest.mark.parametrize("wrong", [5, None, "text"])
async def test_what_is_no_function_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="run_sync takes a function"):
        await lt.run_sync(wrong)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"cancel_timeout": -1}, ValueError),
        ({"name": ""}, ValueError),
    ],
)
async def test_bad_options_are_refused(options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await lt.run_sync(int, **options)


async def test_cancelled_before_it_began() -> None:
    ran: list[int] = []
    async with in_time():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await lt.run_sync(ran.append, 1)
            await forever()
        assert scope.cancelled_caught
    await nothing_left()


async def test_fifty_at_once() -> None:
    async with in_time():
        assert await lt.gather(*(lt.run_sync(int, number) for number in range(50))) == list(range(50))
    await nothing_left()


async def test_stop_iteration_out_of_a_thread_is_an_error_and_no_hang() -> None:
    def stop() -> None:
        raise StopIteration(5)

    async with in_time():
        with pytest.raises((RuntimeError, StopIteration)):
            await lt.run_sync(stop)


async def test_an_interrupt_in_the_thread_is_raised_here() -> None:
    def leave() -> None:
        raise SystemExit(3)

    async with in_time():
        with pytest.raises(SystemExit):
            await lt.run_sync(leave)
