"""Channel: cancelled, destroyed and closed under it, nothing is lost, nothing comes twice, and the order is kept."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import pytest

import labtether as lt
from support.together import SOON, Worker, new_loop, run_on, send_or_say, turns, until, until_sync

HOWS = ["scope", "task"]


class Task:
    """A task of one await, cancelled by its scope or by itself; what came of it."""

    def __init__(self, group: anyio.abc.TaskGroup, how: str, call: Callable[[], Awaitable[Any]]) -> None:
        self.outcome: list[Any] = []
        self._call, self._how = call, how
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[Any] | None = None
        group.start_soon(self._run)

    async def _run(self) -> None:
        with suppress(RuntimeError):
            self._task = asyncio.current_task() if self._how == "task" else None
        try:
            with self._scope:
                self.outcome.append(await self._call())
        except asyncio.CancelledError:
            assert self._task is not None
            while self._task.uncancel():
                pass
        if not self.outcome:
            self.outcome.append("cancelled")

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._scope.cancel()


def stands(channel: lt.Channel[Any], *, sending: int = 0, receiving: int = 0) -> Callable[[], bool]:
    def look() -> bool:
        now = channel.statistics()
        return (now.tasks_waiting_send, now.tasks_waiting_receive) == (sending, receiving)

    return look


@pytest.mark.parametrize("how", HOWS)
async def test_a_cancelled_receive_has_taken_nothing(how: str) -> None:
    channel = lt.Channel[int](5)
    async with anyio.create_task_group() as group:
        tasks = []
        for number in range(3):
            tasks.append(Task(group, how, channel.receive))
            await until(stands(channel, receiving=number + 1))
        tasks[0].cancel()
        await until(lambda: tasks[0].outcome)
        for number in (1, 2, 3):
            channel.send_nowait(number)
    assert [task.outcome for task in tasks] == [["cancelled"], [1], [2]]
    assert channel.receive_nowait() == 3


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("first", ["send", "cancel"])
@pytest.mark.parametrize("how", HOWS)
async def test_sent_and_cancelled_in_the_same_turn(how: str, first: str, times: int) -> None:
    channel = lt.Channel[int](5)
    async with anyio.create_task_group() as group:
        task = Task(group, how, channel.receive)
        await until(stands(channel, receiving=1))
        if first == "send":
            channel.send_nowait(1)
            channel.send_nowait(2)
        for _ in range(times):
            task.cancel()
        if first == "cancel":
            channel.send_nowait(1)
            channel.send_nowait(2)
    heard = [number for number in task.outcome if number != "cancelled"]
    heard += [channel.receive_nowait() for _ in range(2 - len(heard))]
    assert heard == [1, 2]
    assert channel.statistics().sent == channel.statistics().received == 2


@pytest.mark.parametrize("how", HOWS)
async def test_what_a_cancelled_receive_was_given_goes_to_the_next_in_order(how: str) -> None:
    channel = lt.Channel[int](5)
    async with anyio.create_task_group() as group:
        tasks = [Task(group, how, channel.receive) for _ in range(4)]
        await until(stands(channel, receiving=4))
        for number in range(4):
            channel.send_nowait(number)
        tasks[0].cancel()
        tasks[2].cancel()
    heard = [task.outcome[0] for task in tasks if task.outcome != ["cancelled"]]
    while channel.statistics().current_buffer_used:
        heard.append(channel.receive_nowait())
    assert sorted(heard) == [0, 1, 2, 3]
    assert channel.statistics().received == 4


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("capacity", [0, 1])
async def test_a_cancelled_send_has_sent_nothing(capacity: int, how: str) -> None:
    channel = lt.Channel[int](capacity)
    with channel.sender() as sender:
        for _ in range(capacity):
            sender.send_nowait(0)
        async with anyio.create_task_group() as group:
            tasks = []
            for number in (1, 2, 3):
                tasks.append(Task(group, how, partial(channel.send, number)))
                await until(stands(channel, sending=number))
            tasks[1].cancel()
            await until(lambda: tasks[1].outcome)
            assert channel.statistics().tasks_waiting_send == 2
            heard = [await channel.receive() for _ in range(capacity + 2)]
        assert heard == [0] * capacity + [1, 3]
        assert channel.statistics().sent == channel.statistics().received == capacity + 2


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("first", ["receive", "cancel"])
async def test_received_and_cancelled_in_the_same_turn(first: str, how: str, times: int) -> None:
    channel = lt.Channel[int](1)
    with channel.sender() as sender:
        sender.send_nowait(0)
        heard: list[int] = []
        async with anyio.create_task_group() as group:
            task = Task(group, how, lambda: channel.send(1))
            await until(stands(channel, sending=1))
            if first == "receive":
                heard.append(channel.receive_nowait())  # makes room: the item goes in
            for _ in range(times):
                task.cancel()
            if first == "cancel":
                heard.append(channel.receive_nowait())
        now = channel.statistics()
        assert now.sent == 1 + now.current_buffer_used
        if task.outcome == ["cancelled"]:
            assert now.current_buffer_used == 0
        else:
            assert channel.receive_nowait() == 1


async def test_a_cancelled_send_that_was_received_says_so() -> None:
    channel, notes = lt.Channel[int](0), list[str]()
    kept = channel.sender()

    async def send() -> None:
        try:
            await channel.send(1)
        except BaseException as cancelled:
            notes.extend(getattr(cancelled, "__notes__", []))
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await until(stands(channel, sending=1))
        assert channel.receive_nowait() == 1
        group.cancel_scope.cancel()
    assert channel.statistics().sent == 1
    # asyncio's scope lets a task go on whose wait is over; a cancellation that did reach it says what became of it.
    assert not notes or "sending to channel" in notes[0]
    kept.close()


async def test_an_item_of_a_cancelled_send_is_not_kept() -> None:
    class Item:
        pass

    channel = lt.Channel[Item](0)
    item = Item()
    watch = weakref.ref(item)
    async with anyio.create_task_group() as group:
        group.start_soon(channel.send, item)
        await until(stands(channel, sending=1))
        del item
        group.cancel_scope.cancel()
    await turns()
    gc.collect()
    assert watch() is None


async def test_a_channel_ends_when_its_last_sender_is_cancelled() -> None:
    channel = lt.Channel[int](1)

    async def send() -> None:
        number = 0
        while True:
            await channel.send(number)
            number += 1

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await until(stands(channel, sending=1))
        group.cancel_scope.cancel()
    gc.collect()
    assert [number async for number in channel] == [0]


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_channel_ends_when_the_loop_of_its_last_sender_is_closed(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "asyncio")
    channel = lt.Channel[int](1)
    loop = new_loop(kind)

    async def send() -> None:
        await channel.send(1)
        await channel.send(2)

    task = loop.create_task(send())
    loop.run_until_complete(until(stands(channel, sending=1)))
    receiver = Worker(list, channel.sync)
    loop.close()
    del task
    gc.collect()
    # The second was on its way in: it was received, or it went with its sender.
    assert receiver.finish() in ([1], [1, 2])
    assert channel.statistics().ended is not None


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_an_item_given_to_one_whose_loop_is_closed_goes_to_the_next(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "asyncio")
    channel, heard = lt.Channel[int](5), list[int]()
    loop = new_loop(kind)

    async def receive() -> None:
        heard.append(await channel.receive())

    task = loop.create_task(receive())
    loop.run_until_complete(until(stands(channel, receiving=1)))
    after = Worker(channel.sync.receive)
    until_sync(stands(channel, receiving=2))
    channel.send_nowait(1)
    loop.close()
    del task
    gc.collect()
    assert after.finish() == 1
    assert not heard


@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "trio", "thread"])
def test_it_ends_with_the_run_or_thread_of_its_last_sender(kind: str) -> None:
    channel = lt.Channel[int](2)
    receiver = Worker(list, channel.sync)
    until_sync(stands(channel, receiving=1))
    sent = threading.Event()

    async def send() -> None:
        await channel.send(1)
        sent.set()

    def send_sync() -> None:
        channel.sync.send(1)
        sent.set()

    Worker(send_sync).finish() if kind == "thread" else Worker(run_on, kind, send).finish()
    assert sent.is_set()
    assert receiver.finish() == [1]


@pytest.mark.asyncio_only
async def test_a_receive_that_is_destroyed_leaves_its_item_to_the_next() -> None:
    channel = lt.Channel[int](5)
    task = asyncio.create_task(channel.receive())
    await until(stands(channel, receiving=1))
    channel.send_nowait(1)
    channel.send_nowait(2)
    task.get_coro().close()
    assert [channel.receive_nowait(), channel.receive_nowait()] == [1, 2]
    task.cancel()
    with suppress(RuntimeError, asyncio.CancelledError):
        await task


@pytest.mark.asyncio_only
async def test_a_send_that_is_destroyed_sends_nothing() -> None:
    channel = lt.Channel[int](0)
    task = asyncio.create_task(channel.send(1))
    await until(stands(channel, sending=1))
    task.get_coro().close()
    with pytest.raises(lt.ChannelEmpty):
        channel.receive_nowait()
    task.cancel()
    with suppress(RuntimeError, asyncio.CancelledError):
        await task
    assert channel.statistics().sent == 0


async def test_cancelled_over_and_over_the_order_of_each_sender_is_kept() -> None:
    channel, heard = lt.Channel[tuple[int, int]](3), list[tuple[int, int]]()

    async def send(sender: int) -> None:
        for number in range(200):
            done = False
            while not done:
                scope = anyio.CancelScope()
                if number % 3 == 0:
                    group.start_soon(cancel_later, scope, number % 4)
                done = await send_or_say(channel, (sender, number), scope)
            await lt.pause()

    async def cancel_later(scope: anyio.CancelScope, count: int) -> None:
        await turns(count)
        scope.cancel()

    async def receive() -> None:
        number = 0
        while True:
            number += 1
            with anyio.CancelScope() as scope:
                if number % 2:
                    group.start_soon(cancel_later, scope, number % 5)
                heard.append(await channel.receive())
            if len(heard) == 600:
                return

    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            for sender in range(3):
                group.start_soon(send, sender)
    for sender in range(3):
        assert [number for who, number in heard if who == sender] == list(range(200))
