"""The cancel matrix of exchanges: everything that can be aborted, left at every await it has, by every means there is.

Whatever the combination: the abort reaches the instrument, once; the await ends by its own cancellation, which says
what the instrument did, as does the outcome of a nursery's child, once; and the line is in step for the next.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

import labtether as lt
from support.exchanges import BRIEF, ERROR, FAR, HALTED, PtyMachine, effects_in, notes
from support.nurseries import settled
from test_cancel_means import Attempt, asyncio_timeout, task_cancel
from test_exchange_means import ON_ASYNCIO, ON_TRIO, Child, Means, handle_cancel

Call = Callable[[lt.Link[str], Attempt], Awaitable[object]]
Talking = Callable[[lt.Exchange[str], Attempt], Awaitable[object]]


def nothing(_machine: PtyMachine) -> None:
    """After the cancellation nothing is needed for the end."""


@dataclass(frozen=True)
class Row:
    """A call, what the instrument makes of its abort, and what is then known."""

    name: str
    call: Call
    effect: str
    manner: str = "answers"
    command: bytes | None = None
    """As in the outcome: a query's; an exchange has none."""
    halts: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    asked: bytes | None = b""
    """What the instrument has heard when it is cancelled; None: nothing has to be."""
    then: Callable[[PtyMachine], None] = nothing


def ask(command: str, **options: Any) -> Call:
    async def call(link: lt.Link[str], attempt: Attempt) -> object:
        attempt.here()
        return await link.query(command, timeout=FAR, **options)

    return call


def ask_all(until: int | str, abort: lt.Abort) -> Call:
    async def call(link: lt.Link[str], attempt: Attempt) -> object:
        def seen(message: str) -> str:
            attempt.here()
            return message

        return await link.query_all("ACK", until=until, parse=seen, timeout=FAR, abort=abort)

    return call


async def wait_until(link: lt.Link[str], attempt: Attempt) -> object:
    attempt.here()
    return await link.wait_until("MOVE", bool, timeout=FAR, abort=HALTED)


def at_an_address(*, exchange: bool) -> Call:
    async def call(link: lt.Link[str], attempt: Attempt) -> object:
        abort = lt.Abort("HALT", reply="halted", timeout=10)
        async with link.at("2", send="/{address}{body}", reply=r"^/{address}(?P<body>.*)", name=link.name) as face:
            if not exchange:
                attempt.here()
                return await face.query("MOVE", timeout=FAR, abort=abort)
            async with face.exchange(timeout=FAR, abort=abort) as talk:
                attempt.here()
                return await talk.query("MOVE")

    return call


def within(talking: Talking, first: str | None = "MOVE", abort: lt.Abort | None = HALTED) -> Call:
    """An exchange that says `first` and is then left in the middle of `talking`."""

    async def call(link: lt.Link[str], attempt: Attempt) -> object:
        async with link.exchange(timeout=FAR, abort=abort) as talk:
            if first is not None:
                await talk.send(first)
            return await talking(talk, attempt)

    return call


async def receive(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.receive()


async def receive_one_that_matches(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.receive(match="^done")


async def receive_one_that_pleases(talk: lt.Exchange[str], attempt: Attempt) -> object:
    def is_the_last(message: str) -> bool:
        attempt.here()
        return message == "done"

    return await talk.receive(match=is_the_last)


async def receive_in_a_framing_of_its_own(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.receive(framing=lt.Lines("\r"))


async def query(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.query("MOVE")


async def a_second_query(talk: lt.Exchange[str], attempt: Attempt) -> object:
    assert await talk.receive() == "ack"
    return await query(talk, attempt)


async def read(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.read(100)


async def read_until(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.read_until(b"never")


async def read_some(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.read_some()


async def iterate(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return [part async for part in talk]


async def iterate_from_the_second_part(talk: lt.Exchange[str], attempt: Attempt) -> object:
    async for part in talk:
        assert part == "ack"
        attempt.here()
    return None


async def sleep(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    await lt.sleep(FAR)
    return None


async def sleep_of_somebody_elses(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    await anyio.sleep(FAR)
    return None


async def sleep_when_all_was_answered(talk: lt.Exchange[str], attempt: Attempt) -> object:
    assert await talk.receive() == "ack"
    attempt.here()
    await lt.sleep(FAR)
    return None


async def receive_what_nobody_was_asked_for(talk: lt.Exchange[str], attempt: Attempt) -> object:
    attempt.here()
    return await talk.receive()


IDS: dict[str, Any] = {"match": lt.ById(r"^#(\w+)", r"^#(\w+)")}
MOVE = b"MOVE"
PLAIN = lt.Abort("HALT", timeout=10)
BRIEFLY = lt.Abort("HALT", reply="^halted", timeout=0.02)
RAW = lt.Abort(lt.Raw(b"HALT\n"), reply="^halted", timeout=10)

QUERIES = [
    Row("answered", ask("MOVE", abort=HALTED), "halted", command=MOVE),
    Row("raw abort", ask("MOVE", abort=RAW), "halted", command=MOVE),
    Row("both answered", ask("MOVE", abort=HALTED), "halted", "both", MOVE, options={"error": ERROR}),
    Row("the query failed", ask("MOVE", abort=PLAIN), "halted", "fails", MOVE, options={"error": ERROR}),
    Row("a message", ask("MOVE", abort="HALT"), "halted", "fails", MOVE, options={"error": ERROR}),
    Row("the query ended", ask("MOVE", abort=PLAIN), "ran_to_completion", "finishes", MOVE),
    Row("deaf", ask("MOVE", abort=BRIEFLY), "unconfirmed", "deaf", MOVE),
    Row("deaf, no answer", ask("MOVE", abort=lt.Abort("HALT", timeout=0.02)), "unconfirmed", "deaf", MOVE),
    Row("to its end", ask("MOVE", on_cancel="finish"), "ran_to_completion", "deaf", MOVE, 0, then=PtyMachine.finish),
    Row("by id", ask("#7 MOVE", abort=HALTED), "halted", command=b"#7 MOVE", options=IDS),
    Row("by id, failed", ask("#7 MOVE", abort=PLAIN), "halted", "fails", b"#7 MOVE", 1, {**IDS, "error": "ERR"}),
    Row("by id, ended", ask("#7 MOVE", abort=PLAIN), "ran_to_completion", "finishes", b"#7 MOVE", options=IDS),
    Row("by id, deaf", ask("#7 MOVE", abort=BRIEFLY), "unconfirmed", "deaf", b"#7 MOVE", options=IDS),
    Row(
        "by id, to its end",
        ask("#7 MOVE", on_cancel="finish"),
        "ran_to_completion",
        command=b"#7 MOVE",
        halts=0,
        options=IDS,
        then=PtyMachine.finish,
    ),
    Row("all", ask_all("^done", HALTED), "halted"),
    Row("all, deaf", ask_all(2, BRIEFLY), "unconfirmed", "deaf"),
    Row("wait until", wait_until, "halted", command=MOVE),
    Row("at an address", at_an_address(exchange=False), "halted", command=b"/2MOVE"),
    Row("exchange at an address", at_an_address(exchange=True), "halted"),
]

EXCHANGES = [
    Row("receive", within(receive), "halted"),
    Row("receive, matching", within(receive_one_that_matches, "ACK"), "halted"),
    Row("receive, by a function", within(receive_one_that_pleases, "ACK"), "halted"),
    Row("receive, framed", within(receive_in_a_framing_of_its_own), "halted"),
    Row("query", within(query, None), "halted"),
    Row("a second query", within(a_second_query, "ACK"), "halted", asked=b"MOVE"),
    Row("read", within(read), "halted"),
    Row("read until", within(read_until), "halted"),
    Row("read some", within(read_some), "halted"),
    Row("iterate", within(iterate), "halted"),
    Row("iterate on", within(iterate_from_the_second_part, "ACK"), "halted"),
    Row("sleep", within(sleep), "halted"),
    Row("sleep of another kind", within(sleep_of_somebody_elses), "halted"),
    Row("sleep at a boundary", within(sleep_when_all_was_answered, "ACK"), "halted"),
    Row("boundary", within(sleep_when_all_was_answered, "ACK", PLAIN), "halted_at_boundary", "deaf"),
    Row("both answered", within(receive), "halted", "both", options={"error": ERROR}),
    Row("failed", within(receive, abort=PLAIN), "halted", "fails", options={"error": ERROR}),
    Row("deaf", within(receive, abort=BRIEFLY), "unconfirmed", "deaf"),
    Row("no abort", within(receive, abort=None), "unconfirmed", halts=0, then=PtyMachine.finish),
    Row("nothing said", within(receive_what_nobody_was_asked_for, None), "never_started", halts=0, asked=None),
]


async def check(row: Row, means: Means) -> None:
    with PtyMachine(row.manner) as machine:
        async with lt.serial(machine.port, **{**BRIEF, **row.options}) as link:
            attempt = Child(lambda attempt: row.call(link, attempt))

            async def drive() -> None:
                await machine.until(lambda: attempt.reached.is_set() or attempt.over, "the call")
                if row.asked is not None:
                    asked = row.asked
                    await machine.until(lambda: attempt.over or any(asked in one for one in machine.heard), "a command")
                attempt.cancel()
                if row.then is not nothing:
                    # The cancellation is on its way, and comes before what the instrument says now.
                    await settled()
                    row.then(machine)

            await means(attempt, drive)
            assert attempt.cancelled, f"not cancelled: {attempt.error!r}, {attempt.value!r}"
            # An abort without an answer is over when it is written.
            await machine.until(lambda: machine.halts >= row.halts, "the halt")
            if row.effect != "never_started":
                assert effects_in(attempt.error)[-1] == row.effect, notes(attempt.error)
            if attempt.outcome is not None:
                assert isinstance(attempt.outcome, lt.Cancelled)
                assert attempt.outcome.reason == "by the test"
                assert attempt.outcome.effects == ((link.name, row.command, row.effect),)
                assert attempt.outcome.effect == row.effect
            number = "#1 " if "match" in row.options else ""
            for _ in range(2):
                assert await link.query(f"{number}ASK") == f"{number}re ASK"
            assert link.state == "open"
        assert machine.halts == row.halts


def by_name(row: Row) -> str:
    return row.name.replace(", ", "-").replace(" ", "_")


ROWS = [*QUERIES, *EXCHANGES]


async def check_all(row: Row, every: list[Means]) -> None:
    for means in every:
        try:
            await check(row, means)
        except BaseException as error:
            error.add_note(f"cancelled by {means.__name__}")
            raise


@pytest.mark.asyncio_only
@pytest.mark.parametrize("row", ROWS, ids=by_name)
async def test_what_is_cancelled_on_asyncio_is_aborted_and_says_what_became_of_it(row: Row, backend: str) -> None:
    # uvloop differs in its loop alone, and not in what is around the await.
    await check_all(row, ON_ASYNCIO if backend == "asyncio" else [task_cancel, asyncio_timeout, handle_cancel])


@pytest.mark.trio_only
@pytest.mark.parametrize("row", ROWS, ids=by_name)
async def test_what_is_cancelled_on_trio_is_aborted_and_says_what_became_of_it(row: Row) -> None:
    await check_all(row, ON_TRIO)
