"""A thousand random schedules of faults through a link of ours, with numbered questions: no question is ever given the
reply to another one.

A question may fail, with a LinkError. A checksum tells what is garbled, so that a number that comes was said.

Where replies come in the order of their questions, nothing tells a repetition of one from the reply to the next
question if it comes while that is waited for. What a link promises is that what has come before a question is asked is
not its reply. So in order, such repetitions are tried as come together with what they repeat (`can_be_told`), and a
link that is lost stays lost. With ids (`match=lt.ById`) every schedule is tried, and the link comes back.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import labtether as lt
from labtether.testing import script
from labtether.testing.faults import ALL, Duplicate, Echo, Fault, Fragment, Garble, Refuse, rehearse
from labtether.testing.strategies import schedules

AT_ONCE = 100
QUESTIONS = 6
ENOUGH = 2
"""So many failures, and the rest of the questions is not asked."""
LONGEST = 0.02
"""Seconds: four faults make many replies too late, but none later than the link waits for what it is owed."""
WAITING = {"timeout": 0.05, "drain": 0.7, "settle": 0.005}

FRAMING = lt.Lines("\n", checksum=lt.Crc("CRC-32/ISO-HDLC", encode="hex"))
BY_ID = lt.ById(command=r"^(\d+)\?$", reply=r"^(\d+)$")
COMING_BACK = lt.Reconnect(first=0.001, limit=0.01, give_up=0.1)


@dataclass
class Tally:
    """How the questions of one conversation ended, and the replies that reached another question."""

    endings: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, str]] = field(default_factory=list)


# -- Schedules ---------------------------------------------------------------------------------------------------------


def can_be_told(schedule: list[Fault]) -> bool:
    """Whether all that comes of a message has come when there first is a whole one."""
    if not any(isinstance(fault, Duplicate) for fault in schedule):
        return True
    apart = 100.0
    came: dict[int, list[tuple[float, bytes]]] = {}
    for at, what in rehearse(schedule, [(number * apart, "<", b"number\n") for number in range(QUESTIONS)]):
        if isinstance(what, bytes):
            came.setdefault(int(at // apart), []).append((at, what))
    for pieces in came.values():
        last, _ = pieces[-1]
        whole = next((at for at, piece in pieces if piece.endswith(b"\n")), last)
        if last > whole:
            return False
    return True


def is_possible(schedule: list[Fault], transport: str, *, ids: bool) -> bool:
    """Whether there can be such a line, and a link that knows what to do with it."""
    # Of two echoes a link expects one.
    echoes = sum(isinstance(fault, Echo) for fault in schedule)
    refuses = any(isinstance(fault, Refuse) for fault in schedule)
    return echoes < 2 and not (refuses and transport == "pty") and (ids or can_be_told(schedule))


def choose(count: int, transport: str, *, ids: bool) -> list[list[Fault]]:
    """Random schedules, the same ones on every run."""
    chosen: list[list[Fault]] = []

    @given(schedules(longest=LONGEST).filter(lambda schedule: is_possible(schedule, transport, ids=ids)))
    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def keep(schedule: list[Fault]) -> None:
        chosen.append(schedule)

    keep()
    return chosen


# -- Conversations -----------------------------------------------------------------------------------------------------


async def converse(
    schedule: list[Fault], name: str, transport: str, *, ids: bool, timeout: float = WAITING["timeout"]
) -> Tally:
    """One conversation under these faults. timeout: seconds for each reply."""
    tally = Tally()
    options: dict[str, Any] = {"echo": any(isinstance(fault, Echo) for fault in schedule)}
    options |= WAITING | {"timeout": timeout}
    if ids:
        options |= {"match": BY_ID, "reconnect": COMING_BACK}
    with script(name, FRAMING, transport=transport, faults=schedule) as psu:
        psu.when(r"(?P<number>\d+)\?").reply("{number}")
        link = psu.link(**options)
        await set_up(link)
        try:
            await ask(link, tally, ids=ids)
        finally:
            tally.endings["late"] = sum(event.note.startswith("late") for event in link.trace())
            await link.stop()
    return tally


async def set_up(link: lt.Link[Any]) -> None:
    """However often it is refused."""
    while True:
        try:
            await link.setup()
        except lt.OpenFailed:
            continue
        return


async def ask(link: lt.Link[Any], tally: Tally, *, ids: bool) -> None:
    """The questions, one after the other."""
    failures = 0
    for number in range(QUESTIONS):
        try:
            reply = await link.query(f"{number}?")
        except lt.LinkError as error:
            tally.endings[type(error).__name__] += 1
            failures += 1
            if failures == ENOUGH or (isinstance(error, lt.LinkLost) and not ids):
                return
        else:
            tally.endings["reply"] += 1
            if reply != str(number):
                tally.wrong.append((str(number), reply))


async def converse_all(chosen: list[list[Fault]], transport: str, *, ids: bool) -> list[Tally]:
    """All conversations, some at once."""
    limit, tallies = anyio.CapacityLimiter(AT_ONCE), [Tally() for _ in chosen]

    async def one(number: int) -> None:
        async with limit:
            tallies[number] = await converse(chosen[number], f"psu {number}", transport, ids=ids)

    async with anyio.create_task_group() as tasks:
        for number in range(len(chosen)):
            tasks.start_soon(one, number)
    return tallies


def simplest(schedule: list[Fault], transport: str, *, ids: bool) -> list[Fault]:
    """Without the faults that it goes wrong without."""
    for fault in list(schedule):
        shorter = [other for other in schedule if other is not fault]
        if anyio.run(lambda fewer=shorter: converse(fewer, "psu", transport, ids=ids)).wrong:  # type: ignore[misc]
            schedule = shorter
    return schedule


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "transport", "ids"),
    [(1_000, "memory", False), (1_000, "memory", True), (200, "pty", False)],
    ids=["in order", "by id", "on a pseudo-terminal"],
)
def test_under_a_thousand_schedules_no_question_is_given_the_reply_to_another(
    count: int, transport: str, ids: bool
) -> None:
    chosen = choose(count, transport, ids=ids)
    assert len(chosen) == count
    kinds = {type(fault) for schedule in chosen for fault in schedule}
    assert kinds >= {type(fault) for fault in ALL} - ({Refuse} if transport == "pty" else set())
    tallies = anyio.run(lambda: converse_all(chosen, transport, ids=ids))
    wrong = [(schedule, tally.wrong) for schedule, tally in zip(chosen, tallies, strict=True) if tally.wrong]
    if wrong:
        schedule, pairs = wrong[0]
        least = simplest(schedule, transport, ids=ids)
        pytest.fail(f"{len(wrong)} of {count} went wrong: (question, reply) {pairs} under {schedule}, also {least}")
    endings = sum((tally.endings for tally in tallies), Counter())
    assert endings["reply"] > 3 * count, endings
    assert min(endings["LinkTimeout"], endings["LinkLost"], endings["FrameError"]) > count / 100, endings
    assert ids or endings["late"] > count / 100, endings


# -- What cannot be told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [False, True], ids=["in order", "by id"])
def test_a_repetition_that_comes_while_the_next_reply_is_waited_for_is_told_by_its_id_alone(ids: bool) -> None:
    # The first reply comes again, and what is said then waits behind it.
    tally = anyio.run(lambda: converse([Duplicate(gap=0.05, only=[1])], "psu", "memory", ids=ids, timeout=10))
    assert tally.endings["reply"] == QUESTIONS
    assert tally.wrong == ([] if ids else [("1", "0")])


def test_a_repetition_that_has_come_before_the_next_question_is_not_its_reply() -> None:
    schedule: list[Fault] = [Duplicate(times=3)]
    assert can_be_told(schedule)
    tally = anyio.run(lambda: converse(schedule, "psu", "memory", ids=False, timeout=10))
    assert (tally.endings["reply"], tally.wrong) == (QUESTIONS, [])


def test_what_is_left_of_a_garbled_reply_is_not_the_next_one() -> None:
    # A byte becomes a line feed, so that one reply is two; the second half comes later.
    frame = FRAMING.core.encode(b"0")
    seed, place = next(
        (seed, garbled.index(b"\n"))
        for seed in range(100_000)
        for _, garbled in rehearse([Garble(seed=seed)], [(0.0, "<", frame)])
        if isinstance(garbled, bytes) and b"\n" in garbled[:-1]
    )
    schedule = [Garble(seed=seed, only=[1]), Fragment([place + 1], gap=0.02)]
    tally = anyio.run(lambda: converse(schedule, "psu", "memory", ids=False, timeout=10))
    assert tally.endings["FrameError"] == 1
    assert (tally.endings["reply"], tally.wrong) == (QUESTIONS - 1, [])
