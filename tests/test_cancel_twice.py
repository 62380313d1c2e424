"""Cancellations of two kinds at once, awaits that are closed, not cancelled, and loops that have never seen anyio.

Where a plain sleep stands in the table too, it is the control: what it does there is what is expected of everything.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

import labtether as lt
from support import PtyInstrument, run_child
from test_cancel_operations import answer

Work = Callable[[lt.Link[str]], Awaitable[object]]


async def sleep(link: lt.Link[str]) -> None:
    """The control."""
    await anyio.sleep(60)


async def query(link: lt.Link[str]) -> None:
    await link.query("LATE x")


async def exchange(link: lt.Link[str]) -> None:
    async with link.exchange() as talk:
        await talk.send("LATE x")
        await talk.receive()


async def receive(link: lt.Link[str]) -> None:
    await link.receive()


async def step(link: lt.Link[str]) -> None:
    async for _ in link.poll("LATE x", every=60):
        pass


WORKS: list[Work] = [sleep, query, exchange, receive, step]


class Case:
    """A link on which work is under way in a task of its own, inside an anyio scope inside an asyncio timeout."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.begun = asyncio.Event()
        self.scope = anyio.CancelScope()
        self.limit = asyncio.timeout(None)
        self.after_scope = False
        self.timed_out = False

    async def run(self, link: lt.Link[str]) -> None:
        try:
            async with self.limit:
                with self.scope:
                    self.begun.set()
                    await self.work(link)
                self.after_scope = True
        except TimeoutError:
            self.timed_out = True


async def after(case: Case, *steps: Callable[[asyncio.Task[None]], object], turns: int) -> asyncio.Task[None]:
    """Begin it, take the steps with so many turns of the loop between them, and wait for the end.

    Then the line is in order.
    """
    with PtyInstrument(answer) as instrument:
        async with lt.serial(instrument.port, settle=0.001) as link:
            task = asyncio.create_task(case.run(link))
            await case.begun.wait()
            if case.work not in (sleep, receive):
                await instrument.until_heard()
            for one in steps:
                one(task)
                for _ in range(turns):
                    await asyncio.sleep(0)
            done, _ = await asyncio.wait([task], timeout=5)
            assert done
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.query, "ASK")
                if instrument.heard:
                    instrument.send(b"late\n")
            assert await link.query("ASK 2") == "re ASK 2"
    return task


def cancel_task(task: asyncio.Task[None]) -> None:
    if not task.done():
        task.cancel("from outside")


@pytest.mark.asyncio_only
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("first", ["scope", "task"])
async def test_a_scope_does_not_swallow_the_cancellation_of_its_task(work: Work, turns: int, first: str) -> None:
    case = Case(work)
    steps = [lambda _: case.scope.cancel(), cancel_task]
    if first == "task":
        steps.reverse()
    task = await after(case, *steps, turns=turns)
    if turns == 0 or first == "task":
        assert task.cancelled()
    else:
        # The scope may be over by then; what came after it was cancelled, if anything did.
        assert task.cancelled() or case.after_scope


@pytest.mark.asyncio_only
@pytest.mark.parametrize("work", WORKS)
async def test_a_timeout_and_the_cancellation_of_its_task_end_as_a_cancellation(work: Work) -> None:
    case = Case(work)
    task = await after(case, lambda _: case.limit.reschedule(0.0), cancel_task, turns=0)
    assert task.cancelled()
    assert not case.timed_out


@pytest.mark.asyncio_only
@pytest.mark.parametrize("work", WORKS)
async def test_a_timeout_around_a_cancelled_scope_leaves_nothing_to_be_delivered(work: Work) -> None:
    case = Case(work)
    task = await after(case, lambda _: case.scope.cancel(), lambda _: case.limit.reschedule(math.inf), turns=0)
    assert not task.cancelled()
    task.result()
    assert task.cancelling() == 0
    assert case.after_scope
    assert not case.timed_out


@pytest.mark.asyncio_only
@pytest.mark.parametrize("cancelled_first", [False, True])
async def test_a_closed_await_is_seen_through_by_the_link(cancelled_first: bool) -> None:
    with PtyInstrument(answer) as instrument:
        async with lt.serial(instrument.port, settle=0.001) as link:
            pending = link.query("LATE x")
            pending.send(None)
            await instrument.until_heard()
            if cancelled_first:
                with contextlib.suppress(asyncio.CancelledError):  # raised at once if Rust has answered by then
                    pending.throw(asyncio.CancelledError("thrown"))
            pending.close()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.query, "ASK")
                instrument.send(b"late\n")
            assert await link.query("ASK 2") == "re ASK 2"


async def test_awaits_that_nobody_took_up_say_nothing_on_the_wire() -> None:
    with PtyInstrument(answer) as instrument:
        async with lt.serial(instrument.port, settle=0.001) as link:
            for pending in (link.query("never"), link.send("never"), link.setup(), link.stop()):
                pending.close()
            assert await link.query("ASK 1") == "re ASK 1"
        assert instrument.heard == [b"ASK 1"]


def test_cancellation_needs_no_anyio() -> None:
    """The shield against anyio's cancellations is not missed where anyio does not run."""
    run_child(
        """
        import asyncio, sys
        import labtether as lt
        from labtether._core import Operation

        async def main():
            async with lt.link("sim://balance") as balance:
                for _ in range(5):
                    before = len(balance.trace())
                    task = asyncio.create_task(balance.query("S", timeout=60))
                    while not any(event.direction == ">" for event in balance.trace()[before:]):
                        await asyncio.sleep(0)
                    task.cancel("why")
                    try:
                        await task
                    except asyncio.CancelledError as error:
                        assert error.args == ("why",), error.args
                    else:
                        raise AssertionError("not cancelled")
                    try:
                        async with asyncio.timeout(0.01):
                            await balance.query("S", timeout=60)
                    except TimeoutError:
                        assert asyncio.current_task().cancelling() == 0
                    else:
                        raise AssertionError("no timeout")
                    assert (await balance.query("I4")).startswith("I4 A")

        assert "anyio._backends._asyncio" not in sys.modules
        asyncio.run(main())
        assert "anyio._backends._asyncio" not in sys.modules
        """
    )
