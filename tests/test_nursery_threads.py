"""Nurseries from elsewhere: `start_soon` and `cancel` from plain threads and other loops, and what comes too late."""

import threading
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import (
    Oops,
    fail,
    forever,
    in_other_loop,
    in_thread,
    in_time,
    settled,
    texts,
    thread,
    until,
    value_of,
)


async def test_a_thread_starts_a_child() -> None:
    home = threading.get_ident()
    ran_in: list[int] = []

    async def child(value: int) -> int:
        ran_in.append(threading.get_ident())
        return value

    async with in_time(), lt.open_nursery() as nursery:
        handle = await in_thread(lambda: nursery.start_soon(child, 5, name="from a thread"))
        assert await handle == 5
        assert handle.name == "from a thread"
    assert ran_in == [home]


async def test_a_thread_waits_for_what_it_started() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        assert await in_thread(lambda: nursery.start_soon(value_of, 5).sync.result()) == 5


@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_another_loop_starts_a_child_and_awaits_it(other: str) -> None:
    async def elsewhere() -> Any:
        return await nursery.start_soon(value_of, 5)

    async with in_time(), lt.open_nursery() as nursery:
        assert await in_other_loop(elsewhere, other) == 5


async def test_a_child_from_a_thread_fails() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await in_thread(lambda: nursery.start_soon(fail, "from a thread"))
                await forever()
        assert texts(raised.value) == ["from a thread"]


async def test_a_child_from_a_thread_belongs_to_the_nursery_and_not_to_what_surrounds_the_wait() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with anyio.CancelScope() as scope:
            handle = await in_thread(lambda: nursery.start_soon(value_of, 5))
            scope.cancel()
        assert await handle == 5


async def test_a_thread_cancels_it() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(forever)
            with thread(lambda: nursery.cancel("the button")):
                await forever()
        assert nursery.reason == "the button"
        assert await handle.outcome() == lt.Cancelled("the button")


async def test_another_loop_cancels_it() -> None:
    async def elsewhere() -> None:
        nursery.cancel("from elsewhere")

    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(forever)
            await in_other_loop(elsewhere)
        assert await handle.outcome() == lt.Cancelled("from elsewhere")


async def test_a_thread_cancels_a_child_that_it_has_just_started() -> None:
    def start_and_cancel() -> lt.Handle[Any]:
        handle = nursery.start_soon(forever)
        handle.cancel("changed my mind")
        return handle

    async with in_time(), lt.open_nursery() as nursery:
        handle = await in_thread(start_and_cancel)
        assert await handle.outcome() == lt.Cancelled("changed my mind")


async def test_four_threads_start_a_thousand_children() -> None:
    def start(first: int) -> None:
        handles.extend(nursery.start_soon(value_of, first + number) for number in range(250))

    handles: list[lt.Handle[int]] = []
    async with in_time(30):
        async with lt.open_nursery() as nursery:
            with thread(lambda: start(0)), thread(lambda: start(250)), thread(lambda: start(500)):
                await in_thread(lambda: start(750))
        assert sorted([await handle for handle in handles]) == list(range(1000))


async def test_wrong_arguments_are_refused_in_the_thread() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(TypeError, match="not an async function"):
            await in_thread(lambda: nursery.start_soon(int))  # type: ignore[arg-type]
        assert nursery.children == ()


async def test_after_its_end_a_thread_is_told() -> None:
    async with in_time():
        async with lt.open_nursery("run 7") as nursery:
            pass
        with pytest.raises(lt.ScopeClosed, match="run 7"):
            await in_thread(lambda: nursery.start_soon(forever))
        await in_thread(lambda: nursery.cancel("too late"))


@pytest.mark.parametrize("method", ["service", "enter"])
async def test_what_belongs_to_the_loop_says_so(method: str) -> None:
    def try_it() -> None:
        result = getattr(nursery, method)(forever if method == "service" else lt.link("sim://balance"))
        result.send(None)

    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(RuntimeError, match="outside its event loop"):
            await in_thread(try_it)


async def test_a_start_that_was_accepted_before_the_end_and_posted_after_it() -> None:
    """Whoever waits for such a handle must be told."""
    go = threading.Event()
    inside = threading.Event()
    handles: list[lt.Handle[int]] = []
    refused: list[BaseException] = []

    def make() -> Any:
        inside.set()
        assert go.wait(10)
        return value_of(5)

    opened = threading.Event()

    def start() -> None:
        assert opened.wait(10)
        try:
            handles.append(nursery.start_soon(make))
        except lt.ScopeClosed as error:
            refused.append(error)

    async with in_time():
        with thread(start) as raised:
            async with lt.open_nursery() as nursery:
                opened.set()
                await until(inside.is_set)
            go.set()
            await until(lambda: bool(handles or refused or raised))
        assert not raised
        if handles:
            await settled()
            assert handles[0].done, handles
            assert isinstance(await handles[0].outcome(), lt.Cancelled)
        assert nursery.children == ()


async def test_start_soon_in_the_very_turn_in_which_an_empty_nursery_ends() -> None:
    """It is refused, or the child is waited for; it never runs on without its nursery."""
    go = anyio.Event()
    ran: list[str] = []
    refused: list[BaseException] = []
    handles: list[lt.Handle[Any]] = []

    async def child() -> None:
        await settled()
        ran.append("child")

    async def outsider() -> None:
        await go.wait()
        try:
            handles.append(nursery.start_soon(child))
        except Exception as error:
            refused.append(error)

    async with in_time(), anyio.create_task_group() as tasks:
        tasks.start_soon(outsider)
        await settled()
        async with lt.open_nursery() as nursery:
            go.set()
        at_the_end = list(ran)
        await settled()
        await settled()
    assert ran == at_the_end
    assert all(isinstance(error, lt.ScopeClosed) for error in refused), refused
    assert all(handle.done for handle in handles)


async def test_a_thread_that_starts_children_while_nurseries_end() -> None:
    """Each is started, or refused with ScopeClosed; whatever comes back has an outcome."""
    stop = threading.Event()
    current: list[lt.Nursery] = []
    handles: list[lt.Handle[Any]] = []

    def start() -> None:
        while not stop.is_set():
            try:
                handle = current[-1].start_soon(value_of, 5)
            except (lt.ScopeClosed, IndexError):
                continue
            handles.append(handle)
            while not handle.done and not stop.is_set():
                pass

    async with in_time(30):
        with thread(start) as raised:
            try:
                for number in range(300):
                    async with lt.open_nursery() as nursery:
                        current.append(nursery)
                        if number % 2:
                            nursery.start_soon(value_of, 1)
            finally:
                stop.set()
        assert not raised
        await until(lambda: all(handle.done for handle in handles))


async def test_an_error_in_a_thread_is_the_threads() -> None:
    def go_wrong() -> None:
        raise Oops

    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(Oops):
            await in_thread(go_wrong)
        assert nursery.reason is None
