"""Channel: bounded, in order, several senders and receivers, ends when the last sender's scope has ended."""

import copy
import gc
import json
import pickle
import weakref
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import anyio
import pytest

import labtether as lt
from support.together import LOOPS, SOON, Worker, run_on, turns, until, until_sync


class Item:
    """Something that can be watched."""


def sending(channel: lt.Channel[int], count: int) -> Callable[[], bool]:
    return lambda: channel.statistics().tasks_waiting_send == count


def receiving(channel: lt.Channel[int], count: int) -> Callable[[], bool]:
    return lambda: channel.statistics().tasks_waiting_receive == count


async def test_it_holds_so_many_and_then_a_sender_waits() -> None:
    channel = lt.Channel[int](2, "data")
    await channel.send(1)
    await channel.send(2)
    with pytest.raises(lt.ChannelFull, match=r"channel data is full \(2\)"):
        channel.send_nowait(3)
    async with anyio.create_task_group() as group:
        group.start_soon(channel.send, 3)
        await until(sending(channel, 1))
        assert channel.statistics().current_buffer_used == 2
        assert await channel.receive() == 1
        await until(sending(channel, 0))
    assert [channel.receive_nowait(), await channel.receive()] == [2, 3]
    with pytest.raises(lt.ChannelEmpty, match="channel data is empty"):
        channel.receive_nowait()


async def test_senders_that_wait_go_in_order_and_nobody_passes_them() -> None:
    channel = lt.Channel[int](1)
    channel.send_nowait(0)
    async with anyio.create_task_group() as group:
        for number in range(1, 5):
            group.start_soon(channel.send, number)
            await until(sending(channel, number))
        heard = [channel.receive_nowait()]
        with pytest.raises(lt.ChannelFull):
            channel.send_nowait(99)
        heard += [channel.receive_nowait() for _ in range(4)]
    assert heard == [0, 1, 2, 3, 4]


async def test_receivers_that_wait_are_served_in_order() -> None:
    channel, heard = lt.Channel[int](5), list[tuple[int, int]]()

    async def receive(number: int) -> None:
        heard.append((number, await channel.receive()))

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(receive, number)
            await until(receiving(channel, number + 1))
        for number in range(4):
            channel.send_nowait(number)
    assert sorted(heard) == [(0, 0), (1, 1), (2, 2), (3, 3)]


async def test_no_capacity_is_a_meeting() -> None:
    channel = lt.Channel[int](0)
    with pytest.raises(lt.ChannelFull):
        channel.send_nowait(1)
    with pytest.raises(lt.ChannelEmpty):
        channel.receive_nowait()
    async with anyio.create_task_group() as group:
        group.start_soon(channel.send, 1)
        await until(sending(channel, 1))
        assert channel.statistics().current_buffer_used == 0
        assert await channel.receive() == 1
        got: list[int] = []

        async def receive() -> None:
            got.append(await channel.receive())

        group.start_soon(receive)
        await until(receiving(channel, 1))
        channel.send_nowait(2)
        with pytest.raises(lt.ChannelFull):
            channel.send_nowait(3)
    assert got == [2]


async def test_a_channel_outlasts_another_sender_for_a_task_that_found_no_room() -> None:
    channel = lt.Channel[int](1)
    sent, tried = anyio.Event(), anyio.Event()

    async def send() -> None:
        await channel.send(1)
        sent.set()
        await tried.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await sent.wait()
        with pytest.raises(lt.ChannelFull):
            channel.send_nowait(2)
        tried.set()
    assert channel.receive_nowait() == 1
    channel.send_nowait(2)
    assert channel.receive_nowait() == 2


async def test_an_iteration_ends_when_the_sending_tasks_have_ended() -> None:
    channel, heard = lt.Channel[int](2), list[int]()

    async def send(first: int) -> None:
        for number in range(first, first + 10):
            await channel.send(number)

    async def receive() -> None:
        async for number in channel:
            heard.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(receive)
        group.start_soon(send, 0)
        group.start_soon(send, 100)
    assert sorted(heard) == [*range(10), *range(100, 110)]
    assert [number for number in heard if number < 100] == list(range(10))
    with pytest.raises(lt.ChannelClosed, match="the scope of its last sender has ended"):
        await channel.receive()
    with pytest.raises(lt.ChannelClosed):
        await channel.send(1)
    with pytest.raises(lt.ChannelClosed):
        channel.send_nowait(1)
    with pytest.raises(lt.ChannelClosed):
        channel.receive_nowait()
    with pytest.raises(lt.ChannelClosed):
        channel.sender()


@pytest.mark.parametrize("where", [*LOOPS, "thread"])
async def test_it_ends_with_a_sender_elsewhere(where: str) -> None:
    channel = lt.Channel[int](2)

    async def send() -> None:
        for number in range(20):
            await channel.send(number)

    def send_sync() -> None:
        for number in range(20):
            channel.sync.send(number)

    worker = Worker(send_sync) if where == "thread" else Worker(run_on, where, send)
    with anyio.fail_after(SOON):
        assert [number async for number in channel] == list(range(20))
    worker.finish()


async def test_a_sender_that_is_handed_on_keeps_it_open() -> None:
    channel = lt.Channel[int](5)
    sender = channel.sender()

    async def send(number: int) -> None:
        await channel.send(number)

    async with anyio.create_task_group() as group:
        group.start_soon(send, 1)
    gc.collect()
    assert channel.statistics().ended is None
    await sender.send(2)
    sender.send_nowait(3)
    assert "open" in repr(sender)
    sender.close()
    sender.close()
    assert "closed" in repr(sender)
    with pytest.raises(lt.ChannelClosed, match="this sender"):
        await sender.send(4)
    with pytest.raises(lt.ChannelClosed, match="this sender"):
        sender.send_nowait(4)
    assert [number async for number in channel] == [1, 2, 3]


async def test_a_sender_ends_with_its_block_or_when_it_is_forgotten() -> None:
    for way in range(3):
        channel = lt.Channel[int](5)
        if way == 0:
            async with channel.sender() as sender:
                await sender.send(1)
        elif way == 1:
            with channel.sender() as sender:
                sender.send_nowait(1)
        else:
            sender = channel.sender()
            sender.send_nowait(1)
        del sender
        gc.collect()
        assert [number async for number in channel] == [1]


async def test_closed_by_hand() -> None:
    channel = lt.Channel[int](2, "data")
    channel.send_nowait(1)
    async with anyio.create_task_group() as group:
        group.start_soon(channel.send, 2)
        group.start_soon(channel.send, 3)
        await until(sending(channel, 1))
        channel.close()
        channel.close()
        with pytest.raises(lt.ChannelClosed, match="it was closed"):
            channel.send_nowait(4)
        # What was on its way in when it was closed is in.
        assert sorted([number async for number in channel]) == [1, 2, 3]
    assert channel.statistics().ended == "it was closed"


async def test_closing_wakes_all_that_receive() -> None:
    channel, ended = lt.Channel[int](2), list[int]()

    async def receive(number: int) -> None:
        async for _ in channel:
            pass
        with pytest.raises(lt.ChannelClosed):
            await channel.receive()
        ended.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(receive, number)
        await until(receiving(channel, 10))
        async with channel:
            pass
    assert sorted(ended) == list(range(10))


async def test_statistics() -> None:
    channel = lt.Channel[int](3, "data")
    with channel.sender():
        for number in range(3):
            channel.send_nowait(number)
        channel.receive_nowait()
        now = channel.statistics()
        assert (now.max_buffer_size, now.current_buffer_used, now.peak_buffer_used) == (3, 2, 3)
        assert (now.sent, now.received, now.open_senders, now.ended) == (3, 1, 2, None)
        with pytest.raises(FrozenInstanceError):
            now.sent = 0  # type: ignore[misc]
        assert json.loads(json.dumps(channel.tree()))["kind"] == "channel"
    channel.close()
    assert channel.statistics().ended == "it was closed"
    assert repr(channel) == "<Channel data: 2 of 3, 1 senders, ended: it was closed>"
    assert repr(channel.sync).startswith("<Channel.sync data: 2 of 3")


def test_threads() -> None:
    channel = lt.Channel[int](3)
    heard: list[int] = []

    def send() -> None:
        for number in range(200):
            channel.sync.send(number)

    worker = Worker(send)
    heard.extend(channel.sync)
    worker.finish()
    assert heard == list(range(200))
    with pytest.raises(lt.ChannelClosed):
        channel.sync.receive()


def test_a_thread_that_receives_is_woken_by_the_end() -> None:
    channel = lt.Channel[int](3)
    worker = Worker(list, channel.sync)
    until_sync(receiving(channel, 1))
    channel.close()
    assert worker.finish() == []


async def test_the_blocking_form_is_refused_where_a_loop_runs() -> None:
    channel = lt.Channel[int](1)
    for call in (channel.sync.receive, lambda: channel.sync.send(1)):
        with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
            call()
    assert channel.statistics().sent == 0


async def test_items_are_not_kept() -> None:
    channel = lt.Channel[Item](3)
    item = Item()
    watch = weakref.ref(item)
    await channel.send(item)
    del item
    gc.collect()
    assert watch() is not None
    received = await channel.receive()
    assert received is watch()
    del received
    gc.collect()
    assert watch() is None


async def test_items_of_a_forgotten_channel_are_gone() -> None:
    channel = lt.Channel[Item](3)
    item = Item()
    watch = weakref.ref(item)
    channel.send_nowait(item)
    del item, channel
    gc.collect()
    assert watch() is None


async def test_a_circle_through_a_channel_is_collected() -> None:
    channel = lt.Channel[object](3)
    item = Item()
    item.channel = channel  # type: ignore[attr-defined]
    channel.send_nowait(item)
    watch = weakref.ref(item)
    sender = channel.sender()
    sender.send_nowait(sender)
    del item, channel, sender
    gc.collect()
    assert watch() is None


async def test_any_object_goes_through_as_it_is() -> None:
    channel = lt.Channel[object](1)
    for item in (None, (), (1,), StopIteration(3), ValueError("x"), channel, NotImplemented):
        await channel.send(item)
        assert await channel.receive() is item
        async with anyio.create_task_group() as group:
            got: list[object] = []

            async def receive() -> None:
                got.append(await channel.receive())  # noqa: B023

            group.start_soon(receive)
            await until(lambda: channel.statistics().tasks_waiting_receive == 1)
            channel.send_nowait(item)
        assert got[0] is item


async def test_an_iteration_over_what_is_always_full_lets_others_run() -> None:
    channel, turned = lt.Channel[int](2000), 0
    for number in range(2000):
        channel.send_nowait(number)
    channel.close()

    async def turn() -> None:
        nonlocal turned
        while True:
            turned += 1
            await lt.pause()

    async with anyio.create_task_group() as group:
        group.start_soon(turn)
        await turns(2)
        before = turned
        assert len([number async for number in channel]) == 2000
        assert turned - before >= 2000 // 128 - 1
        group.cancel_scope.cancel()


def test_wrong_arguments() -> None:
    for wrong, error in ((-1, ValueError), (True, TypeError), ("1", TypeError), (1.5, TypeError), (None, TypeError)):
        with pytest.raises(error, match="capacity is"):
            lt.Channel(wrong)  # type: ignore[arg-type]
    assert lt.Channel(0).name.startswith("channel-")
    with pytest.raises(ValueError, match="empty"):
        lt.Channel(1, "")
    channel = lt.Channel[int](1, "data")
    for copying in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="Channel data is shared"):
            copying(channel)
