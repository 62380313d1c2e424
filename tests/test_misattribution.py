"""A hundred thousand queries to instruments that number their replies and answer late; random cancels and timeouts.

Not one reply reaches another's question, and not one query is lost: each ends in exactly one way, and what its ending
says of the command (it never went out, or it did) is what the instrument has heard (laws 2 and 3).
"""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

import labtether as lt
from support import Child

QUERIES = 100_000
LINKS = 20
EACH = -(-QUERIES // (3 * LINKS))
"""Queries on each link of each of the three loops."""
PATIENCE = 0.5
"""Seconds for a reply that is wanted; the instruments are silent now and then."""

INSTRUMENTS = """
    import contextlib, heapq, json, os, random, selectors, socket, sys, time, tty

    links, seed = int(sys.argv[1]), int(sys.argv[2])
    dice = random.Random(seed)
    look = selectors.DefaultSelector()
    servers, cables, lines, urls = [], [], [], []
    unread = [b""] * links
    heard = [[] for _ in range(links)]
    due, count = [], 0

    for place in range(links):
        if place % 2:
            server = socket.create_server(("127.0.0.1", 0))
            servers.append(server)
            urls.append(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        else:
            line, cable = os.openpty()
            tty.setraw(cable)
            os.set_blocking(line, False)
            cables.append(cable)
            look.register(line, selectors.EVENT_READ, (place, line))
            urls.append("serial://" + os.ttyname(cable))
    print(json.dumps(urls))
    for place, server in zip(range(1, links, 2), servers):
        line, _ = server.accept()
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setblocking(False)
        lines.append(line)
        look.register(line, selectors.EVENT_READ, (place, line.fileno()))
    look.register(sys.stdin, selectors.EVENT_READ, None)

    def write(line, data):
        with contextlib.suppress(OSError):  # late for a link that is closed by now
            os.write(line, data)

    def say(at, line, data):
        global count
        count += 1
        heapq.heappush(due, (at, count, line, data))

    def answer(place, line, number):
        heard[place].append(number)
        now, reply = time.monotonic(), b"%d\\n" % number
        chance = dice.random()
        if chance < 0.70:
            write(line, reply)
        elif chance < 0.95:
            say(now + dice.uniform(0.0, 0.012), line, reply)
        elif chance < 0.9995:
            say(now + 0.001, line, reply[:1])
            say(now + dice.uniform(0.001, 0.004), line, reply[1:])
        # else it says nothing at all

    # Told that it is enough, it hears what is still on its way, which on a pseudo-terminal takes its time.
    while look.get_map():
        patience = max(0.0, due[0][0] - time.monotonic()) if due else None
        for key, _ in look.select(patience):
            if key.data is None:
                look.unregister(sys.stdin)
                for cable in cables:
                    os.close(cable)
                continue
            place, line = key.data
            try:
                data = os.read(line, 65536)
            except OSError:
                data = b""
            if not data:
                look.unregister(key.fileobj)
                continue
            *commands, unread[place] = (unread[place] + data).split(b"\\n")
            for command in commands:
                answer(place, line, int(command))
        while due and due[0][0] <= time.monotonic():
            _, _, line, data = heapq.heappop(due)
            write(line, data)
    print(json.dumps(heard))
"""


@dataclass
class Tally:
    """How the queries of one link ended."""

    endings: Counter[str] = field(default_factory=Counter)
    written: list[int] = field(default_factory=list)
    """The commands that went out, as the endings say."""


def went_out(error: BaseException) -> bool:
    """Whether the note on a cancellation says that its command was written."""
    notes = [note for note in getattr(error, "__notes__", []) if note.startswith("labtether: ")]
    assert len(notes) <= 1, notes
    assert not notes or notes[0].endswith((": unconfirmed", ": ran_to_completion")), notes
    return bool(notes)


async def ask(link: lt.Link[str], number: int, tally: Tally, timeout: float) -> None:
    """One query, which counts its own ending."""
    try:
        reply = await link.query(str(number), timeout=timeout)
    except lt.LinkTimeout as error:
        tally.endings["timeout"] += 1
        if error.effect != "never_started":
            tally.written.append(number)
    except (asyncio.CancelledError, trio.Cancelled) as error:
        tally.endings["cancelled"] += 1
        if went_out(error):
            tally.written.append(number)
        raise
    else:
        assert reply == str(number), f"the reply {reply} reached the question {number}"
        tally.endings["reply"] += 1
        tally.written.append(number)


async def leave(dice: random.Random, backend: str, query: Any) -> None:
    """Begin a query and cancel it: some turns of the loop later, or some moments."""
    means = dice.choice(("anyio", "own", "deadline"))
    turns = dice.choice((1, 1, 2, 3, 5, 8))  # at least one, or the query would not even begin
    if means == "deadline":
        with anyio.move_on_after(dice.uniform(0.0, 0.004)):
            await query()
    elif means == "anyio" or backend == "trio":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(query)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    else:
        task = asyncio.ensure_future(query())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def ask_many(url: str, seed: int, backend: str, tally: Tally) -> None:
    """All the queries of one link, one after the other or two at once."""
    dice = random.Random(seed)
    async with lt.link(url, settle=0.001) as link:

        async def one(number: int) -> None:
            chance = dice.random()
            if chance < 0.70:
                await ask(link, number, tally, PATIENCE)
            elif chance < 0.85:
                await ask(link, number, tally, dice.choice((0.0003, 0.001, 0.003)))
            else:
                await leave(dice, backend, lambda: ask(link, number, tally, PATIENCE))

        number = 0
        while number < EACH:
            if number < EACH - 1 and dice.random() < 0.1:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(one, number)
                    tasks.start_soon(one, number + 1)
                number += 2
            else:
                await one(number)
                number += 1


@pytest.mark.slow
async def test_no_reply_of_a_hundred_thousand_reaches_another_question_and_none_is_lost(backend: str) -> None:
    tallies = [Tally() for _ in range(LINKS)]
    seed = {"asyncio": 1, "uvloop": 2, "trio": 3}[backend]
    with Child(INSTRUMENTS, LINKS, seed) as child:
        urls: list[str] = json.loads(child.line())
        async with anyio.create_task_group() as tasks:
            for place, (url, tally) in enumerate(zip(urls, tallies, strict=True)):
                tasks.start_soon(ask_many, url, 1000 * seed + place, backend, tally)
        child.say("enough")
        heard: list[list[int]] = json.loads(child.line(timeout=30))
        child.finish()
    endings: Counter[str] = sum((tally.endings for tally in tallies), Counter())
    assert endings.total() == LINKS * EACH
    for tally, commands in zip(tallies, heard, strict=True):
        assert sorted(tally.written) == sorted(commands)
    assert endings["reply"] > 0.5 * LINKS * EACH
    assert endings["timeout"] > 0.02 * LINKS * EACH
    assert endings["cancelled"] > 0.05 * LINKS * EACH
