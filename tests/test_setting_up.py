"""`setup()`, `stop()` and `lt.lifecycle.enter`: from any task, thread and loop."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread
import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.balances import other, told
from support.scales import Balance, Scale, Watchful

__all__ = ["other", "told"]


@asynccontextmanager
async def furnace(log: list[str], *, fail: str = "") -> AsyncIterator[str]:
    log.append("up")
    if fail == "up":
        raise ValueError("cold")
    with anyio.CancelScope():
        try:
            yield "hot"
        finally:
            log.append("down")
            if fail == "down":
                raise ValueError("stuck")


async def test_any_context_manager_is_entered_and_left_by_different_tasks() -> None:
    log: list[str] = []
    values: list[str] = []

    async def enter() -> None:
        values.append(await lt.lifecycle.enter(furnace(log)))

    async def leave() -> None:
        await lt.lifecycle.exit(values[0])

    async with anyio.create_task_group() as group:
        group.start_soon(enter)
    assert (values, log) == (["hot"], ["up"])
    found = lt.lifecycle.tree().find("furnace")
    assert found is not None
    assert found.kind == "entered"
    async with anyio.create_task_group() as group:
        group.start_soon(leave)
    assert log == ["up", "down"]
    with pytest.raises(lt.LinkClosed):
        await lt.lifecycle.exit(values[0])


async def test_what_cannot_be_entered_or_left_says_so() -> None:
    log: list[str] = []
    with pytest.raises(ValueError, match="cold"):
        await lt.lifecycle.enter(furnace(log, fail="up"))
    kept = furnace(log, fail="down")
    await lt.lifecycle.enter(kept)
    with pytest.raises(ValueError, match="stuck"):
        await lt.lifecycle.exit(kept)
    assert log == ["up", "up", "down"]


async def test_a_link_is_entered_as_what_it_is(told: ScriptedInstrument) -> None:
    link = lt.serial(told.port, framing="\r\n")
    assert await lt.lifecycle.enter(link) is link
    assert await link.query("S") == "S S 1.5 g"
    await lt.lifecycle.exit(link)
    assert link.state == "closed"


async def test_stop_works_from_a_thread_and_from_another_loop(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    for stop in (scale.sync.stop, lambda: asyncio.run(scale.stop()), lambda: lt.lifecycle.sync.stop(scale)):
        await scale.setup()
        assert await anyio.to_thread.run_sync(scale.sync.weigh) == 1.5
        await anyio.to_thread.run_sync(stop)
        assert scale.state == "closed"
    assert told.heard == ["@", "S", "P"] * 3


async def test_a_blocking_stop_in_the_loop_that_it_needs_is_refused_at_once(told: ScriptedInstrument) -> None:
    scale = await Scale(told.port).setup()
    with pytest.raises(RuntimeError, match=r"lives in the event loop that runs in this thread.* such as stop\(\)"):
        scale.sync.stop()
    assert scale.sync.weigh() == 1.5, "what does not need that loop works"
    await scale.stop()


async def test_a_stop_ends_a_setup_under_way(told: ScriptedInstrument) -> None:
    told.when("SLOW").silence()
    scale = Scale(told.port)
    failures: list[BaseException] = []

    async def set_up() -> None:
        with suppress(lt.LinkClosed):
            try:
                await scale.setup(hello="SLOW")
            except lt.LinkError as error:
                failures.append(error)
                raise

    async with anyio.create_task_group() as group:
        group.start_soon(set_up)
        while "SLOW" not in told.heard:
            await anyio.sleep(0.001)
        await scale.stop()
        assert (scale.state, scale.link.state) == ("closed", "closed")
    assert "it was stopped while it was being set up" in str(failures[0])


async def test_others_waits_end_when_it_is_stopped_and_their_aborts_go_out_first(told: ScriptedInstrument) -> None:
    scale = await Scale(told.port).setup()
    failures: list[BaseException] = []

    async def never() -> None:
        try:
            await scale.never()
        except lt.LinkClosed as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(never)
        while "HANG" not in told.heard:
            await anyio.sleep(0.001)
        await scale.stop()
    assert "Scale is being stopped" in str(failures[0])
    assert told.heard == ["@", "HANG", "HALT", "P"]


async def test_a_reply_that_is_owed_does_not_hold_up_the_parking(told: ScriptedInstrument) -> None:
    scale = await Scale(told.port).setup()
    with anyio.move_on_after(0.05):
        await scale.link.query("HANG", timeout=300)
    with anyio.fail_after(10):
        await scale.stop()
    assert told.heard == ["@", "HANG", "P"]


async def test_a_scope_that_fails_inside_the_lifespan_ends_it_and_is_told_later(
    told: ScriptedInstrument, caplog: pytest.LogCaptureFixture
) -> None:
    scale = await Watchful(told.port).setup()
    told.push("ALARM")
    with anyio.fail_after(10):
        while scale.state != "closed":
            await anyio.sleep(0.001)
    assert told.heard == ["P"], "it was parked, although the scope around that was cancelled"
    assert "a scope inside its lifespan was cancelled" in caplog.text
    with pytest.raises(lt.LinkClosed, match="Watchful is closed: a scope inside its lifespan was cancelled") as raised:
        await scale.weigh()
    assert isinstance(raised.value.__cause__, ExceptionGroup)
    assert "the alarm went off" in repr(raised.value.__cause__)
    await scale.stop()


async def test_parts_that_are_set_up_together_are_closed_in_reverse_with_the_whole(
    told: ScriptedInstrument, other: ScriptedInstrument
) -> None:
    order: list[str] = []

    class Part(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                order.append(f"{self.name} up")
                yield
                order.append(f"{self.name} down")

    class Deck(lt.Instrument):
        def __init__(self) -> None:
            self.left, self.right = Part(told.port), Part(other.port)
            self.left.name, self.right.name = "left", "right"

        async def lifespan(self, fail: bool = False) -> AsyncIterator[None]:
            await lt.setup(self.left, self.right)
            if fail:
                raise ValueError("the deck's")
            yield
            order.append("deck down")

    deck = Deck()
    with pytest.raises(ValueError, match="the deck's"):
        await deck.setup(fail=True)
    assert [deck.left.state, deck.right.state] == ["closed", "closed"]
    order.clear()
    async with deck:
        assert await lt.gather(deck.left.weigh, deck.right.weigh) == [1.5, 1.5]
    assert sorted(order[:2]) == ["left up", "right up"]
    assert order[2:] == ["deck down", "right down", "left down"]


async def test_contexts_inside_the_lifespan_are_copies_of_the_callers(told: ScriptedInstrument) -> None:
    from contextvars import ContextVar

    batch: ContextVar[str] = ContextVar("batch")
    seen: list[str] = []

    class Curious(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            seen.append(batch.get())
            batch.set("inside")
            yield

    batch.set("outside")
    async with Curious():
        assert batch.get() == "outside"
    assert seen == ["outside"]


def test_the_blocking_face_needs_no_loop(told: ScriptedInstrument) -> None:
    class Busy(Scale):
        """Awaits what only an event loop gives."""

        async def twice(self) -> list[float]:
            await asyncio.sleep(0)
            return list(await lt.gather(self.weigh, self.weigh))

        def readings(self) -> Any:
            return self.link.poll("S", every=0, count=2, parse=lt.number)

    with Busy(told.port).sync as scale:
        assert scale.weigh() == 1.5
        assert scale.twice() == [1.5, 1.5]
        assert list(scale.numbers(2)) == [1.5, 1.5]
        assert scale.link.query("S") == "S S 1.5 g"
        with scale.readings() as readings:
            assert [reading.value for reading in readings] == [1.5, 1.5]
        with scale.link.exchange() as talk:
            assert talk.query("S") == "S S 1.5 g"
        assert scale.state == "open"
        assert "weigh" in dir(scale)
    assert scale.state == "closed"
    with pytest.raises(lt.LinkClosed, match="Busy is closed: it was stopped"):
        scale.weigh()
    scale.setup()
    lt.lifecycle.sync.stop()
    assert scale.state == "closed"


def test_a_hung_loop_does_not_keep_stop_from_ending(told: ScriptedInstrument) -> None:
    class Quick(Scale):
        close_timeout = 0.05

    scale = Quick(told.port)
    hung, free = threading.Event(), threading.Event()

    async def hangs() -> None:
        await scale.setup()
        hung.set()
        free.wait()

    thread = threading.Thread(target=lambda: asyncio.run(hangs()))
    thread.start()
    hung.wait()
    try:
        with pytest.raises(lt.CleanupTimeout, match=r"it did not end within 2\.05 s; its links were parked and closed"):
            scale.sync.stop()
        assert (scale.state, scale.link.state) == ("closed", "closed")
    finally:
        free.set()
        thread.join()
    assert told.heard == ["@", "RUST"]


def test_between_the_turns_of_a_loop_a_blocking_stop_runs_it(told: ScriptedInstrument) -> None:
    with asyncio.Runner() as runner:
        scale = runner.run(Scale(told.port).setup())
        scale.sync.stop()
        assert scale.state == "closed"
        runner.run(scale.setup())
        lt.lifecycle.sync.stop()
        assert scale.state == "closed"
    assert told.heard == ["@", "P", "@", "P"]


def test_of_two_threads_that_enter_it_at_once_one_does() -> None:
    class Plain(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            yield

    thing, rounds, together = Plain(), 300, threading.Barrier(2)
    refused: list[lt.LinkBusy] = []

    async def enter() -> None:
        together.wait(30)
        try:
            async with thing:
                together.wait(30)
        except lt.LinkBusy as error:
            refused.append(error)
            together.wait(30)

    def enters() -> None:
        with asyncio.Runner() as runner:
            for _ in range(rounds):
                runner.run(enter())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=enters) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    assert len(refused) == rounds
