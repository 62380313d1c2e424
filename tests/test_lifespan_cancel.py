"""Cancelled at every await: a setup leaves nothing, a block is parked, a stop goes on (laws 1, 2 and 6)."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.balances import told
from support.scales import Scale, balance

__all__ = ["told"]

Moment = tuple[int, int]

MOMENTS: list[Moment] = [(stage, turns) for stage in range(4) for turns in range(16)]
"""When the cancellation comes: so many turns of the loop after the instrument has heard so many commands, or after the
work has ended before that."""


async def cut_short(
    work: Callable[[], Awaitable[object]], told: ScriptedInstrument, moment: Moment, times: int
) -> bool:
    """Cancel `work` at `moment`, `times` times, with a turn in between; whether it was cut."""
    stage, turns = moment
    before, done, cut = len(told.heard), anyio.Event(), False

    async def run() -> None:
        nonlocal cut
        try:
            await work()
        except anyio.get_cancelled_exc_class():
            cut = True
            raise
        finally:
            done.set()

    async def come() -> None:
        while len(told.heard) - before < stage and not done.is_set():
            await anyio.lowlevel.checkpoint()
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()

    if lt._core.in_trio() or times == 1:
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await come()
            group.cancel_scope.cancel()
        return cut
    task = asyncio.ensure_future(run())
    # A task that is cancelled before its first turn does not begin.
    await asyncio.sleep(0)
    await come()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await task
    return cut


@pytest.mark.parametrize("times", [1, 3], ids=["once", "thrice"])
async def test_a_setup_that_is_cancelled_leaves_nothing(told: ScriptedInstrument, times: int) -> None:
    scale, cuts = Scale(told.port, settle=0.001), 0
    for moment in MOMENTS:
        was_cut = await cut_short(scale.setup, told, moment, times)
        cuts += was_cut
        if was_cut:
            assert (scale.state, scale.link.state) == ("closed", "closed"), moment
        else:
            await scale.stop()
        assert lt.lifecycle.tree().find("Scale") is None
    assert cuts > 3
    await scale.setup()
    assert await scale.weigh() == 1.5
    await scale.stop()
    assert told.heard.count("@") >= told.heard.count("P") >= 1


@pytest.mark.parametrize("times", [1, 3], ids=["once", "thrice"])
async def test_a_block_that_is_cancelled_is_parked_if_it_was_ever_open(told: ScriptedInstrument, times: int) -> None:
    scale, opened = Scale(told.port, settle=0.001), 0

    async def block() -> None:
        nonlocal opened
        async with scale:
            opened += 1
            await scale.weigh()

    for moment in MOMENTS:
        await cut_short(block, told, moment, times)
        assert (scale.state, scale.link.state) == ("closed", "closed"), moment
        assert len(scale.ended) >= opened, "the closing part has run"
    assert told.heard.count("P") == len(scale.ended) >= opened > 3


@pytest.mark.parametrize("times", [1, 3], ids=["once", "thrice"])
async def test_a_stop_that_is_cancelled_goes_on(told: ScriptedInstrument, times: int) -> None:
    scale, cuts = Scale(told.port, settle=0.001), 0
    for moment in MOMENTS:
        await scale.setup()
        cuts += await cut_short(scale.stop, told, moment, times)
        assert (scale.state, scale.link.state) == ("closed", "closed"), moment
    assert cuts > 3
    assert told.heard == ["@", "P"] * len(MOMENTS)


async def test_several_that_are_cancelled_are_all_undone(told: ScriptedInstrument) -> None:
    with balance("other") as second:
        left, right = Scale(told.port, settle=0.001), Scale(second.port, settle=0.001)
        for moment in MOMENTS:
            if await cut_short(lambda: lt.setup(left, right), told, moment, 1):
                assert [left.state, right.state] == ["closed", "closed"], moment
            else:
                await lt.stop(left, right)
