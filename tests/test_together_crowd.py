"""Ten thousand that wait at once, in two loops, a trio run and four threads; some are cancelled at any moment, some are
killed while they hold. Counts in, counts out."""

import random
import threading
from collections import Counter
from collections.abc import Callable

import anyio
import pytest

import labtether as lt
from support.together import LOOPS, SOON, Place, Worker, run_on, send_or_say, turns, until, until_sync

TASKS = 3300
"""In each of three loops."""

THREADS = 4
TIMES = 25
"""How often each thread takes it."""

CROWDS: dict[str, tuple[Callable[[], Place], int]] = {
    "lock": (lambda: Place(lt.Lock("deck")), 1),
    "semaphore": (lambda: Place(lt.Semaphore(3, "deck")), 3),
    "slots": (lambda: Place(lt.Slots(["A1", "A2", "A3"], "deck")), 3),
}


class Tally:
    """Who was inside, and how many at once. Not atomic on purpose where only one may be inside."""

    def __init__(self, most: int) -> None:
        self.most, self.inside, self.crowded = most, 0, 0
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.inside += 1
            self.crowded = max(self.crowded, self.inside)

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1

    def add(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


class Crowd:
    """The tasks of one loop."""

    def __init__(self, place: Place, tally: Tally, seed: int) -> None:
        self.place, self.tally, self.random = place, tally, random.Random(seed)
        self.scopes: list[anyio.CancelScope] = []

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            for number in range(TASKS):
                group.start_soon(self.one, number)
            await turns(3)
            for scope in self.random.sample(self.scopes, TASKS // 5):
                scope.cancel()
                if self.random.random() < 0.2:
                    await lt.pause()

    async def one(self, number: int) -> None:
        fate = self.random.choice(["leaves"] * 8 + ["fails", "stays"])
        pauses = self.random.choice([0, 0, 0, 1, 2])
        outcome = "cancelled"
        with anyio.CancelScope() as scope:
            self.scopes.append(scope)
            try:
                if fate == "stays":
                    # Ends as it holds.
                    await self.place.block().__aenter__()
                    outcome = "stayed"
                    return
                async with self.place.block():
                    self.tally.enter()
                    try:
                        for _ in range(pauses):
                            await lt.pause()
                        outcome = fate
                        if fate == "fails":
                            raise ZeroDivisionError
                    finally:
                        self.tally.leave()
            except ZeroDivisionError:
                outcome = "fails"
            finally:
                self.tally.add(outcome)


def many_times(place: Place, tally: Tally) -> None:
    for _ in range(TIMES):
        with place.sync():
            tally.enter()
            tally.leave()
        tally.add("thread")


@pytest.mark.parametrize("what", CROWDS)
def test_a_crowd_at_one_place(what: str) -> None:
    make, most = CROWDS[what]
    place, tally = make(), Tally(most)
    with place.sync():  # so that they all wait at once
        blocks = [place.sync() for _ in range(most - 1)]
        for block in blocks:
            block.__enter__()
        crowds = [Worker(run_on, kind, Crowd(place, tally, seed).run) for seed, kind in enumerate(LOOPS)]
        threads = [Worker(many_times, place, tally) for _ in range(THREADS)]
        until_sync(lambda: len(place.waiters) + tally.counts["cancelled"] >= 3 * TASKS + THREADS)
        for block in blocks:
            block.__exit__(None, None, None)
    for worker in [*crowds, *threads]:
        worker.finish()
    assert tally.counts["thread"] == THREADS * TIMES
    assert tally.counts.total() == 3 * TASKS + THREADS * TIMES
    assert all(tally.counts[fate] for fate in ("leaves", "fails", "stayed", "cancelled"))
    assert tally.inside == 0
    assert tally.crowded <= most
    until_sync(lambda: place.is_free)
    with place.sync():
        pass


class Post:
    """What was sent and received, by sender."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.heard: list[list[tuple[str, int]]] = []


async def send_many(channel: lt.Channel[tuple[str, int]], post: Post, name: str, count: int, seed: int) -> None:
    chance = random.Random(seed)

    async def cancel_later(scope: anyio.CancelScope) -> None:
        await turns(chance.randrange(4))
        scope.cancel()

    async def one(sender: str) -> None:
        number = 0
        while number < count:
            scope = anyio.CancelScope()
            if chance.random() < 0.05:
                group.start_soon(cancel_later, scope)
            if await send_or_say(channel, (sender, number), scope):
                post.sent.append((sender, number))
                number += 1

    async with anyio.create_task_group() as group:
        for task in range(10):
            group.start_soon(one, f"{name} {task}")


async def receive_many(channel: lt.Channel[tuple[str, int]], post: Post, seed: int) -> None:
    chance, heard = random.Random(seed), list[tuple[str, int]]()
    post.heard.append(heard)

    async def cancel_later(scope: anyio.CancelScope) -> None:
        await turns(chance.randrange(4))
        scope.cancel()

    async with anyio.create_task_group() as group:
        while True:
            with anyio.CancelScope() as scope:
                if chance.random() < 0.05:
                    group.start_soon(cancel_later, scope)
                try:
                    heard.append(await channel.receive())
                except lt.ChannelClosed:
                    break


def send_sync(channel: lt.Channel[tuple[str, int]], post: Post, name: str, count: int) -> None:
    for number in range(count):
        channel.sync.send((name, number))
        post.sent.append((name, number))


async def receive_all(channel: lt.Channel[tuple[str, int]], post: Post) -> None:
    post.heard.append([item async for item in channel])


@pytest.mark.parametrize("receivers", ["many", *LOOPS])
@pytest.mark.parametrize("capacity", [0, 1, 64])
def test_thousands_of_items_between_loops_and_threads(capacity: int, receivers: str) -> None:
    channel, post, each = lt.Channel[tuple[str, int]](capacity), Post(), 100
    starting = channel.sender()
    senders = [Worker(run_on, kind, send_many, channel, post, kind, each, seed) for seed, kind in enumerate(LOOPS)]
    senders += [Worker(send_sync, channel, post, f"thread {number}", 10 * each) for number in range(2)]
    if receivers == "many":
        others = [Worker(run_on, kind, receive_all, channel, post) for kind in LOOPS]
        others += [Worker(lambda: post.heard.append(list(channel.sync))) for _ in range(2)]
    else:
        # One that is cancelled now and then. Of several, who is cancelled gives its item to another: each still comes
        # once, but the order is nobody's then.
        others = [Worker(run_on, receivers, receive_many, channel, post, 7)]
    for worker in senders:
        worker.finish()
    starting.close()
    for worker in others:
        worker.finish()
    assert Counter(post.sent) == Counter(item for part in post.heard for item in part)
    assert len(post.sent) == 3 * 10 * each + 2 * 10 * each
    assert channel.statistics().sent == channel.statistics().received == len(post.sent)
    for part in post.heard:
        last: dict[str, int] = {}
        for sender, number in part:
            assert number > last.get(sender, -1)
            last[sender] = number
    with pytest.raises(lt.ChannelClosed):
        channel.receive_nowait()


async def test_ten_thousand_receivers_and_as_many_items() -> None:
    channel, heard = lt.Channel[int](16), Counter[int]()

    async def receive() -> None:
        heard[await channel.receive()] += 1

    async with anyio.create_task_group() as group:
        for _ in range(10_000):
            group.start_soon(receive)
        await until(lambda: channel.statistics().tasks_waiting_receive == 10_000)
        for number in range(10_000):
            await channel.send(number)
    assert heard == Counter(range(10_000))
    assert channel.statistics().tasks_waiting_receive == 0


async def test_ten_thousand_wait_for_an_event() -> None:
    event, count = lt.Event(), 0

    async def wait() -> None:
        nonlocal count
        await event.wait()
        count += 1

    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as group:
            for _ in range(10_000):
                group.start_soon(wait)
            await until(lambda: "10000 wait" in repr(event))
            event.set()
    assert count == 10_000
