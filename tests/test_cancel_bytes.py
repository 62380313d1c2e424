"""Streams of numbered things, and readers that are cancelled at any moment: each comes once and in order (law 3).

Whoever reads keeps what an await gave in the step in which it came: what is missing in the end was lost by the link.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

import labtether as lt
from support import LoopCounter, PtyInstrument, TcpInstrument, silent

COUNT = 3000
"""Of numbered things in each stream."""


Work = Callable[[], Coroutine[Any, Any, None]]


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def interrupted(work: Work, dice: random.Random, backend: str) -> None:
    """Begin `work` and cancel it a few turns of the loop later, by any means there is. It may be over by then."""
    later = dice.choice((0, 0, 1, 1, 2, 3, 5, 8, 13))
    means = dice.choice(("anyio", "own"))
    if means == "anyio":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await turns(later)
            tasks.cancel_scope.cancel()
    elif backend == "trio":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await turns(later)
            nursery.cancel_scope.cancel()
    else:
        task = asyncio.ensure_future(work())
        await turns(later)
        task.cancel()
        if dice.random() < 0.3:
            await turns(1)
            task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if outcome is not None and not isinstance(outcome, asyncio.CancelledError):
            raise outcome


async def until_all(taken: list[Any], work: Work, seed: int, backend: str) -> int:
    """Run `work` again and again, mostly interrupted, until it has taken all; how often it had to be begun."""
    dice = random.Random(seed)
    began = 0
    with anyio.fail_after(60):
        while len(taken) < COUNT:
            began += 1
            if dice.random() < 0.9:
                await interrupted(work, dice, backend)
            else:
                await work()
    return began


NUMBERED = b"".join(b"%06d" % number for number in range(COUNT))


def say_in_parts(instrument: PtyInstrument | TcpInstrument, data: bytes) -> None:
    """A part of a length that fits nothing, every half of a millisecond."""
    for index, start in enumerate(range(0, len(data), 37)):
        instrument.send(data[start : start + 37], after=0.0005 * index)


@asynccontextmanager
async def a_line(kind: str, framing: str | None) -> AsyncIterator[tuple[PtyInstrument | TcpInstrument, lt.Link[Any]]]:
    with PtyInstrument(silent) if kind == "pty" else TcpInstrument(silent) as instrument:
        async with lt.link(instrument.url, framing=framing, settle=0.001) as link:
            yield instrument, link


@pytest.mark.parametrize("kind", ["pty", "tcp"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_byte_is_lost_or_swapped_by_cancelled_reads(kind: str, seed: int, backend: str) -> None:
    dice = random.Random(seed)
    taken = bytearray()

    async with a_line(kind, None) as (instrument, link):

        async def read() -> None:
            nonlocal taken
            left = len(NUMBERED) - len(taken)
            match dice.choice("nsu"):
                case "n":
                    taken += await link.read(min(left, dice.randint(1, 50)), timeout=10)
                case "s":
                    taken += await link.read_some(dice.randint(1, 50), timeout=10)
                case _:
                    taken += await link.read_until(
                        b"9" if b"9" in NUMBERED[len(taken) :] else NUMBERED[-1:], timeout=10
                    )

        say_in_parts(instrument, NUMBERED)
        with LoopCounter() as loop, anyio.fail_after(60):
            while len(taken) < len(NUMBERED):
                if dice.random() < 0.9:
                    await interrupted(read, dice, backend)
                else:
                    await read()
                assert NUMBERED.startswith(taken)
        assert bytes(taken) == NUMBERED
        loop.assert_calm(turns=10**6, cpu=20)


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_byte_is_lost_between_two_readers(seed: int, backend: str) -> None:
    """Two wait at once: what the first gives back comes before what the second is given."""
    dice = random.Random(seed)
    taken = bytearray()

    async with a_line("pty", None) as (instrument, link):

        async def read() -> None:
            nonlocal taken
            taken += await link.read_some(20, timeout=10)

        async def two() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(interrupted, read, dice, backend)
                await anyio.lowlevel.checkpoint()
                if len(taken) < len(NUMBERED) - 200:
                    tasks.start_soon(read)

        say_in_parts(instrument, NUMBERED)
        with anyio.fail_after(60):
            while len(taken) < len(NUMBERED):
                await two()
                assert NUMBERED.startswith(taken)
        assert bytes(taken) == NUMBERED


MESSAGES = [f"message {number}" for number in range(COUNT)]


@pytest.mark.parametrize("kind", ["pty", "tcp"])
async def test_no_message_is_lost_by_a_cancelled_receive(kind: str, backend: str) -> None:
    taken: list[str] = []
    async with a_line(kind, "\n") as (instrument, link):

        async def receive() -> None:
            taken.append(await link.receive(timeout=10))

        # At most a thousand are kept for a receive that is late: no more are said before they were taken.
        dice = random.Random(3)
        with anyio.fail_after(60):
            for start in range(0, COUNT, 900):
                some = MESSAGES[start : start + 900]
                say_in_parts(instrument, "".join(f"{message}\n" for message in some).encode())
                while len(taken) < start + len(some):
                    await (interrupted(receive, dice, backend) if dice.random() < 0.9 else receive())
    assert taken == MESSAGES


async def test_no_message_is_lost_by_a_cancelled_step(backend: str) -> None:
    taken: list[str] = []
    async with a_line("pty", "\n") as (instrument, link), link.messages(capacity=2 * COUNT) as heard:

        async def step() -> None:
            taken.append(await anext(heard))

        say_in_parts(instrument, "".join(f"{message}\n" for message in MESSAGES).encode())
        began = await until_all(taken, step, 4, backend)
    assert taken == MESSAGES
    assert began > COUNT


@pytest.mark.parametrize("ways", ["receive", "read_until", "both"])
async def test_no_message_of_an_exchange_is_lost_by_a_cancelled_wait(ways: str, backend: str) -> None:
    taken: list[str] = []
    dice = random.Random(5)
    async with a_line("pty", "\n") as (instrument, link):
        async with link.exchange(timeout=60) as talk:

            async def receive() -> None:
                if ways == "receive" or (ways == "both" and dice.random() < 0.5):
                    taken.append(await talk.receive(timeout=10))
                else:
                    taken.append((await talk.read_until("\n", timeout=10))[:-1].decode())

            say_in_parts(instrument, "".join(f"{message}\n" for message in MESSAGES).encode())
            await until_all(taken, receive, 5, backend)
    assert taken == MESSAGES


async def test_no_reading_is_lost_by_a_cancelled_step(backend: str) -> None:
    count = 0

    def weigh(_command: bytes) -> bytes:
        nonlocal count
        count += 1
        return b"%d\n" % count

    taken: list[float] = []
    with PtyInstrument(weigh) as instrument:
        async with lt.serial(instrument.port, settle=0.001) as link:
            async with link.poll("S", every=0, count=COUNT, parse=lt.number, capacity=COUNT) as readings:

                async def step() -> None:
                    taken.append((await anext(readings)).value)

                await until_all(taken, step, 6, backend)
                with pytest.raises(StopAsyncIteration):
                    await anext(readings)
            assert readings.dropped == 0
    assert taken == list(range(1, COUNT + 1))
    assert count == COUNT
