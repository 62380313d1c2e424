"""Blocks that are torn down by somebody else than their holder: closed by another task, collected, finished by a loop's
hooks. Each lets go of what it took, once, and of nothing that is somebody else's."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import anyio
import pytest

from support.together import LOOPS, ONES, Place, ask, hold_for_ever, new_loop, run_on, turns, until

pytestmark = pytest.mark.parametrize("make", ONES.values(), ids=ONES.keys())
bare = pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
any_loop = pytest.mark.parametrize("kind", LOOPS)


@pytest.fixture(autouse=True)
def quiet_asyncio(caplog: pytest.LogCaptureFixture) -> None:
    """What asyncio says about tasks that are destroyed is expected here."""
    caplog.set_level(logging.CRITICAL, "asyncio")


@bare
def test_a_holder_whose_coroutine_is_closed_by_another_task(make: Callable[[], Place], kind: str) -> None:
    place = make()

    async def main() -> None:
        task = asyncio.create_task(hold_for_ever(place))
        await until(lambda: place.holders)
        async with anyio.create_task_group() as group:
            after = await ask(group, place)
            task.get_coro().close()
            task.cancel()
            with contextlib.suppress(RuntimeError, asyncio.CancelledError):
                await task
            await until(lambda: after.state == "holds")
            after.leave()

    run_on(kind, main)
    assert place.is_free


@bare
def test_a_killed_holder_that_is_kept_does_not_keep_others_from_leaving(make: Callable[[], Place], kind: str) -> None:
    place = make()
    loop = new_loop(kind)
    task = loop.create_task(hold_for_ever(place))
    loop.run_until_complete(until(lambda: place.holders))
    loop.close()

    def numbers() -> Generator[int]:
        with place.sync():
            yield 1

    # Left by GeneratorExit, like a block that is torn down; but this one is its holder's own.
    generator = numbers()
    next(generator)
    generator.close()
    assert place.is_free
    with place.sync():
        pass
    del task
    gc.collect()
    assert place.is_free


def trio_warns(kind: str) -> contextlib.AbstractContextManager[object]:
    """trio says so where a generator is left unfinished."""
    if kind == "trio":
        return pytest.warns(ResourceWarning, match="garbage collected")
    return contextlib.nullcontext()


@any_loop
def test_a_generator_that_is_left_unfinished_by_a_task_that_has_ended(make: Callable[[], Place], kind: str) -> None:
    place = make()

    async def numbers() -> AsyncIterator[int]:
        async with place.block():
            yield 1
            yield 2

    async def take_one(kept: list[object]) -> None:
        generator = numbers()
        kept.append(generator)
        assert await anext(generator) == 1

    async def main() -> None:
        kept: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(take_one, kept)
            await until(lambda: kept)
        gc.collect()
        async with place.block():
            # Closed by the loop in a task of its own: it must take nothing from who holds now.
            kept.clear()
            gc.collect()
            await turns()
            assert len(place.holders) == 1

    with trio_warns(kind):
        run_on(kind, main)
    assert place.is_free


@any_loop
def test_a_generator_that_is_dropped_by_a_task_that_lives_lets_go(make: Callable[[], Place], kind: str) -> None:
    place = make()

    async def numbers() -> AsyncIterator[int]:
        async with place.block():
            yield 1
            yield 2

    failures: list[Any] = []

    async def main() -> None:
        if kind != "trio":
            asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        async for number in numbers():
            assert number == 1
            break
        # The loop closes it, in a task of its own, a few turns later.
        gc.collect()
        await turns(20)
        assert place.is_free

    with trio_warns(kind):
        run_on(kind, main)
    assert not failures
    assert place.is_free
