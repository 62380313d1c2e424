"""Locks, semaphores, slots and channels against models that a child could check: any sequence of asking, cancelling,
leaving and ending comes out the same, on each backend. The loop is stepped until it is quiet; nothing is timed."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import labtether as lt
from support.together import LOOPS, Place, run_on, turns

QUIET = 12
"""Turns after which a loop on its own has nothing left to do."""

ACTORS = 5

each_loop = pytest.mark.parametrize("kind", LOOPS)
much = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Actor:
    """A task that does one thing after the other, as it is told."""

    def __init__(self) -> None:
        self.is_busy = self.is_over = False
        self.outcome: Any = None
        self._next: Callable[[], Awaitable[Any]] | None = None
        self._told = anyio.Event()
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        while True:
            await self._told.wait()
            self._told = anyio.Event()
            if self._next is None:
                break
            with anyio.CancelScope() as self._scope:
                try:
                    self.outcome = await self._next()
                except (lt.Deadlock, lt.ChannelClosed) as error:
                    self.outcome = type(error)
            if self._scope.cancelled_caught:
                self.outcome = "cancelled"
            self.is_busy = False
        self.is_over = True

    def tell(self, what: Callable[[], Awaitable[Any]] | None) -> None:
        """Do this; None: end."""
        self._next, self.is_busy, self.outcome = what, True, None
        self._told.set()

    def cancel(self) -> None:
        """Give up what you do."""
        self._scope.cancel()


@dataclass
class Hold:
    """One place of the model."""

    owner: int
    place: int
    depth: int = 1


@dataclass
class Queue:
    """What can be taken: a list of holds, and a list of who waits for which."""

    kind: str
    size: int
    holds: list[Hold] = field(default_factory=list)
    waits: list[tuple[int, int | None]] = field(default_factory=list)

    def ask(self, owner: int, want: int | None) -> bool:
        """Whether it waits for ever: a deadlock."""
        again = [hold for hold in self.holds if hold.owner == owner]
        if self.kind == "lock" and again:
            again[0].depth += 1
            return False
        taken = {hold.place for hold in self.holds}
        free = [place for place in range(self.size) if place not in taken and want in (None, place)]
        if free:
            self.holds.append(Hold(owner, free[0]))
        elif self.kind != "semaphore" and self.is_stuck(owner, want):
            return True
        else:
            self.waits.append((owner, want))
        return False

    def is_stuck(self, owner: int, want: int | None) -> bool:
        """Whether everybody in the way, however far, waits too."""
        waits = {**dict(self.waits), owner: want}
        seen, look = {owner}, [owner]
        while look:
            wanted = waits[look.pop()]
            for hold in self.holds:
                if wanted in (None, hold.place) and hold.owner not in seen:
                    if hold.owner not in waits:
                        return False
                    seen.add(hold.owner)
                    look.append(hold.owner)
        return True

    def leave(self, owner: int) -> None:
        hold = [hold for hold in self.holds if hold.owner == owner][-1]
        hold.depth -= 1
        if hold.depth == 0:
            self.give_on(hold)

    def give_on(self, hold: Hold) -> None:
        self.holds.remove(hold)
        for wait in self.waits:
            if wait[1] in (None, hold.place):
                self.waits.remove(wait)
                self.holds.append(Hold(wait[0], hold.place))
                return

    def give_up(self, owner: int) -> None:
        self.waits = [wait for wait in self.waits if wait[0] != owner]

    def end(self, owner: int) -> None:
        self.give_up(owner)
        for hold in [hold for hold in self.holds if hold.owner == owner]:
            self.give_on(hold)


NAMES = ("A1", "A2", "A3")

MAKE: dict[str, Callable[[int], Place]] = {
    "lock": lambda _: Place(lt.Lock("deck")),
    "semaphore": lambda size: Place(lt.Semaphore(size, "deck")),
    "slots": lambda size: Place(lt.Slots(NAMES[:size], "deck")),
}

steps = st.lists(
    st.tuples(
        st.integers(0, ACTORS - 1),
        st.sampled_from(["ask"] * 8 + ["leave"] * 5 + ["cancel"] * 2 + ["end"]),
        st.none() | st.integers(0, 2),
    ),
    min_size=15,
    max_size=40,
)


async def play_places(what: str, size: int, script: list[tuple[int, str, int | None]]) -> None:
    size = 1 if what == "lock" else size
    place, model = MAKE[what](size), Queue(what, size)
    actors = [Actor() for _ in range(ACTORS)]
    blocks: list[list[Any]] = [[] for _ in range(ACTORS)]

    async def take(number: int, want: int | None) -> str:
        block = place.block(None if want is None else NAMES[want])
        await block.__aenter__()
        blocks[number].append(block)
        return "taken"

    async def leave(number: int) -> None:
        await blocks[number].pop().__aexit__(None, None, None)

    def shown(rows: list[dict[str, Any]]) -> list[tuple[str, str | None, int]]:
        return [(row["who"], row["place"], row.get("times", 1)) for row in rows]

    def named(at: int | None) -> str | None:
        return NAMES[at] if at is not None and what == "slots" else None

    async with anyio.create_task_group() as group:
        for number, actor in enumerate(actors):
            group.start_soon(actor.run, name=f"actor {number}")
        for number, verb, want in script:
            actor, want = actors[number], want if what == "slots" and want is not None and want < size else None
            waits = any(owner == number for owner, _ in model.waits)
            holds = any(hold.owner == number for hold in model.holds)
            expected: object = None
            if actor.is_over:
                continue
            if verb == "cancel" and waits:
                actor.cancel()
                model.give_up(number)
                expected = "cancelled"
            elif waits or verb == "cancel" or (verb == "leave" and not holds):
                continue
            elif verb == "ask":
                actor.tell(lambda number=number, want=want: take(number, want))  # type: ignore[misc]
                stuck = model.ask(number, want)
                waits = any(owner == number for owner, _ in model.waits)
                expected = lt.Deadlock if stuck else None if waits else "taken"
            elif verb == "leave":
                actor.tell(lambda number=number: leave(number))  # type: ignore[misc]
                model.leave(number)
            else:
                actor.tell(None)
                model.end(number)
            await turns(QUIET)
            assert actor.outcome == expected
            tree = place.of.tree()
            assert shown(tree["holders"]) == [
                (f"task 'actor {hold.owner}'", named(hold.place), hold.depth) for hold in model.holds
            ]
            assert shown(tree["waiters"]) == [(f"task 'actor {who}'", named(want), 1) for who, want in model.waits]
        for number, actor in enumerate(actors):
            if not actor.is_over:
                actor.cancel()
                await turns(QUIET)
                actor.tell(None)
                await turns(QUIET)
            assert actor.is_over, number
    assert place.is_free


@each_loop
@pytest.mark.parametrize("what", MAKE)
@much
@given(size=st.sampled_from([1, 1, 2, 3]), script=steps)
def test_places(what: str, kind: str, size: int, script: list[tuple[int, str, int | None]]) -> None:
    run_on(kind, play_places, what, size, script)


class Pipe:
    """A channel as a deque, with those that wait to send and those that wait to receive."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: deque[int] = deque()
        self.sending: deque[tuple[int, int]] = deque()
        self.receiving: deque[int] = deque()
        self.closed = False
        self.done: dict[int, object] = {}
        """What became of each actor's last call."""

    def send(self, who: int, item: int) -> None:
        self.done.pop(who, None)
        if self.closed:
            self.done[who] = lt.ChannelClosed
        elif self.receiving:
            self.done[self.receiving.popleft()] = item
            self.done[who] = "sent"
        elif len(self.items) < self.capacity:
            self.items.append(item)
            self.done[who] = "sent"
        else:
            self.sending.append((who, item))

    def receive(self, who: int) -> None:
        self.done.pop(who, None)
        if self.items:
            self.done[who] = self.items.popleft()
            if self.sending:
                sender, item = self.sending.popleft()
                self.items.append(item)
                self.done[sender] = "sent"
        elif self.sending:
            sender, item = self.sending.popleft()
            self.done[who], self.done[sender] = item, "sent"
        elif self.closed:
            self.done[who] = lt.ChannelClosed
        else:
            self.receiving.append(who)

    def cancel(self, who: int) -> None:
        self.sending = deque(pair for pair in self.sending if pair[0] != who)
        self.receiving = deque(one for one in self.receiving if one != who)
        self.done[who] = "cancelled"

    def close(self) -> None:
        self.closed = True
        for who in self.receiving:
            self.done[who] = lt.ChannelClosed
        self.receiving.clear()

    def is_waiting(self, who: int) -> bool:
        return who in self.receiving or any(who == sender for sender, _ in self.sending)


async def play_channel(capacity: int, script: list[tuple[int, str]]) -> None:
    channel, model = lt.Channel[int](capacity), Pipe(capacity)
    kept = channel.sender()
    actors = [Actor() for _ in range(ACTORS)]

    async def send(item: int) -> str:
        await channel.send(item)
        return "sent"

    async with anyio.create_task_group() as group:
        for actor in actors:
            group.start_soon(actor.run)
        for item, (number, verb) in enumerate(script):
            actor = actors[number]
            if verb == "close":
                channel.close()
                model.close()
            elif model.is_waiting(number) != (verb == "cancel"):
                continue
            elif verb == "cancel":
                actor.cancel()
                model.cancel(number)
            elif verb == "send":
                actor.tell(lambda item=item: send(item))  # type: ignore[misc]
                model.send(number, item)
            else:
                actor.tell(channel.receive)
                model.receive(number)
            await turns(QUIET)
            assert [actor.outcome for actor in actors] == [model.done.get(number) for number in range(ACTORS)]
            now = channel.statistics()
            assert now.current_buffer_used == len(model.items)
            assert now.tasks_waiting_send == len(model.sending)
            assert now.tasks_waiting_receive == len(model.receiving)
        for actor in actors:
            actor.cancel()
            await turns(QUIET)
            actor.tell(None)
    assert (channel.statistics().tasks_waiting_send, channel.statistics().tasks_waiting_receive) == (0, 0)
    kept.close()


pipes = st.lists(
    st.tuples(st.integers(0, ACTORS - 1), st.sampled_from(["send"] * 4 + ["receive"] * 4 + ["cancel"] * 2 + ["close"])),
    max_size=40,
)


@each_loop
@much
@given(capacity=st.integers(0, 3), script=pipes)
def test_channels(kind: str, capacity: int, script: list[tuple[int, str]]) -> None:
    run_on(kind, play_channel, capacity, script)
