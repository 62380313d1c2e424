"""A holder that is killed while it holds lets go, however that happens: its task destroyed, its loop closed under it,
its thread or run ended. So does one that is killed while it waits, or when it was granted and has not looked yet."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

import labtether as lt
from support.together import (
    LOOPS,
    ONES,
    SOON,
    Place,
    Worker,
    ask,
    hold_for_ever,
    in_thread_when,
    new_loop,
    run_on,
    until,
    until_sync,
)

pytestmark = pytest.mark.parametrize("make", ONES.values(), ids=ONES.keys())
bare = pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
any_loop = pytest.mark.parametrize("kind", LOOPS)


@pytest.fixture(autouse=True)
def quiet_asyncio(caplog: pytest.LogCaptureFixture) -> None:
    """What asyncio says about tasks that are destroyed is expected here."""
    caplog.set_level(logging.CRITICAL, "asyncio")


def nothing() -> None:
    """What the next one does with the place."""


async def wait_for_it(place: Place, got: list[str]) -> None:
    async with place.block():
        got.append("got it")


async def enter(place: Place) -> Any:
    """Take it and never leave; the block that is not left."""
    block = place.block()
    await block.__aenter__()
    return block


def taken_in_thread(place: Place) -> None:
    """Somebody else can have it, and leave it."""
    Worker(in_block, place).finish()
    assert place.is_free


def in_block(place: Place) -> None:
    with place.sync():
        pass


@any_loop
def test_a_task_that_ends_without_leaving(make: Callable[[], Place], kind: str) -> None:
    place = make()
    kept = []

    async def take_and_end() -> None:
        kept.append(await enter(place))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(take_and_end)
            await until(lambda: kept)
            # In trio a task's end is its collection.
            gc.collect()
            async with place.block():
                pass

    run_on(kind, main)
    assert place.is_free


@any_loop
def test_a_run_that_ends_while_its_main_task_holds(make: Callable[[], Place], kind: str) -> None:
    place = make()
    held, go_on = threading.Event(), threading.Event()
    kept = []

    async def main() -> None:
        kept.append(await enter(place))
        held.set()
        while not go_on.is_set():
            await anyio.sleep(0.0005)

    with Worker(run_on, kind, main):
        assert held.wait(SOON)
        after = in_thread_when(place, nothing)
        go_on.set()
        after.finish()
    assert place.is_free


@bare
def test_a_task_that_is_collected_while_it_holds(make: Callable[[], Place], kind: str) -> None:
    place = make()

    async def main() -> None:
        task = asyncio.create_task(hold_for_ever(place))
        await until(lambda: place.holders)
        del task
        async with anyio.create_task_group() as group:
            after = await ask(group, place)
            gc.collect()
            await until(lambda: after.state == "holds")
            after.leave()

    run_on(kind, main)
    assert place.is_free


@bare
def test_a_task_that_is_collected_by_one_who_waits_for_nothing_but_holds_too(
    make: Callable[[], Place], kind: str
) -> None:
    place, other = make(), make()

    async def main() -> None:
        task = asyncio.create_task(hold_for_ever(place))
        await until(lambda: place.holders)
        del task
        async with other.block():
            gc.collect()
            async with place.block():
                assert len(place.holders) == 1
            assert len(other.holders) == 1

    run_on(kind, main)
    assert place.is_free
    assert other.is_free


@bare
def test_a_loop_closed_under_its_holder(make: Callable[[], Place], kind: str) -> None:
    place = make()
    loop = new_loop(kind)
    task = loop.create_task(hold_for_ever(place))
    loop.run_until_complete(until(lambda: place.holders))
    after = in_thread_when(place, nothing)
    loop.close()
    after.finish()
    assert place.is_free
    del task
    gc.collect()
    assert place.is_free
    taken_in_thread(place)


@bare
def test_a_loop_that_is_forgotten_with_its_holder(make: Callable[[], Place], kind: str) -> None:
    place = make()
    loop = new_loop(kind)
    loop.run_until_complete(asyncio.wait_for(until_held_by_a_child(place, loop), 30))
    after = in_thread_when(place, nothing)
    loop.close()
    del loop
    gc.collect()
    after.finish()
    assert place.is_free


async def until_held_by_a_child(place: Place, loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(hold_for_ever(place))
    await until(lambda: place.holders)
    assert not task.done()


@bare
def test_a_block_that_is_torn_down_late_takes_nothing_from_the_next_holder(
    make: Callable[[], Place], kind: str
) -> None:
    place = make()
    loop = new_loop(kind)
    task = loop.create_task(hold_for_ever(place))
    loop.run_until_complete(until(lambda: place.holders))
    loop.close()
    with place.sync():
        del task
        gc.collect()
        assert len(place.holders) == 1
        after = in_thread_when(place, nothing)
        assert after.is_alive()
    after.finish()
    assert place.is_free


@bare
def test_a_loop_closed_under_one_who_waits(make: Callable[[], Place], kind: str) -> None:
    place, got = make(), list[str]()
    loop = new_loop(kind)
    with place.sync():
        task = loop.create_task(wait_for_it(place, got))
        loop.run_until_complete(until(lambda: place.waiters))
        after = in_thread_when(place, nothing)
        loop.close()
        assert len(place.waiters) == 1
    after.finish()
    assert place.is_free
    assert not got
    del task
    gc.collect()
    assert place.is_free


@bare
def test_a_loop_closed_under_one_who_was_granted_and_has_not_looked(make: Callable[[], Place], kind: str) -> None:
    place, got = make(), list[str]()
    loop = new_loop(kind)
    with place.sync():
        task = loop.create_task(wait_for_it(place, got))
        loop.run_until_complete(until(lambda: place.waiters))
        after = in_thread_when(place, nothing)
    assert len(place.holders) == 1
    loop.close()
    after.finish()
    assert place.is_free
    assert not got
    del task
    gc.collect()
    assert place.is_free


@bare
def test_one_who_was_granted_while_its_loop_stood_still_gets_it(make: Callable[[], Place], kind: str) -> None:
    place, got = make(), list[str]()
    loop = new_loop(kind)
    with place.sync():
        task = loop.create_task(wait_for_it(place, got))
        loop.run_until_complete(until(lambda: place.waiters))
        after = in_thread_when(place, nothing)
    assert not got
    loop.run_until_complete(task)
    loop.close()
    after.finish()
    assert got == ["got it"]
    assert place.is_free


def test_a_thread_that_ends_while_it_holds(make: Callable[[], Place]) -> None:
    place = make()
    kept = []
    held, go_on = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        with place.sync():
            yield 1

    def take_and_end() -> None:
        generator = numbers()
        next(generator)
        kept.append(generator)
        held.set()
        assert go_on.wait(SOON)

    with Worker(take_and_end):
        assert held.wait(SOON)
        after = in_thread_when(place, nothing)
        go_on.set()
        after.finish()
    assert place.is_free
    # Torn down here, while somebody else holds it.
    with place.sync():
        kept.clear()
        gc.collect()
        assert len(place.holders) == 1
    assert place.is_free


def test_a_thread_that_ends_with_its_loop_left_open(make: Callable[[], Place]) -> None:
    place = make()
    held, go_on = threading.Event(), threading.Event()
    loops = []

    def run() -> None:
        loop = new_loop("asyncio")
        loops.append((loop, loop.create_task(hold_for_ever(place))))
        loop.run_until_complete(until(lambda: place.holders))
        held.set()
        assert go_on.wait(SOON)

    with Worker(run):
        assert held.wait(SOON)
        after = in_thread_when(place, nothing)
        go_on.set()
    # The loop lives on, and so does its task: it could be run by somebody else.
    assert after.is_alive()
    (loop, task), *_ = loops
    loop.close()
    after.finish()
    del task, loop, _
    loops.clear()
    gc.collect()
    assert place.is_free


def test_locks_of_several_kinds_are_all_let_go_of_by_one_end(make: Callable[[], Place]) -> None:
    places = [make() for _ in range(5)]

    def take_all() -> None:
        kept.extend(place.sync() for place in places)
        for block in kept:
            block.__enter__()

    kept: list[Any] = []
    Worker(take_all).finish()
    for place in places:
        taken_in_thread(place)
    assert lt.Lock("other").mine is False
    until_sync(lambda: all(place.is_free for place in places))
