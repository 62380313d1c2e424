"""Asking until it is so, replies of several messages, and getting back in step."""

import time
from typing import Any

import pytest

import labtether as lt
from support.exchanges import BRIEF, ERROR, FAR, HALTED, PtyMachine, TcpMachine, in_step, traced
from support.nurseries import settled

Machines = type[PtyMachine | TcpMachine]


def counting(machine: PtyMachine) -> None:
    """Its answers count up."""
    count = [0]

    def answer(_command: bytes) -> bytes:
        count[0] += 1
        return b"%d\n" % count[0]

    machine.handler = answer


async def test_it_is_asked_until_the_reply_pleases() -> None:
    with PtyMachine() as machine:
        counting(machine)
        async with lt.serial(machine.port, **BRIEF) as link:
            assert await link.wait_until("S", lambda n: n == 3, every=0.05, timeout=FAR, parse=int) == 3
            assert await link.wait_until("S", lambda text: text == "4", every=FAR, timeout=FAR) == "4"
            assert machine.heard == [b"S"] * 4


async def test_asking_is_paced() -> None:
    with PtyMachine() as machine:
        counting(machine)
        async with lt.serial(machine.port, **BRIEF) as link:
            began = time.monotonic()
            await link.wait_until("S", lambda n: n == 4, every=0.02, timeout=FAR, parse=int)
            assert time.monotonic() - began >= 0.06


@pytest.mark.parametrize("every", [0, 0.0001])
async def test_replies_slower_than_the_pace_are_waited_for(every: float) -> None:
    with PtyMachine() as machine:
        machine.handler = lambda _command: [(0.003, b"not yet\n")] if len(machine.heard) < 10 else b"done\n"
        async with lt.serial(machine.port, **BRIEF) as link:
            assert await link.wait_until("S", lambda text: text == "done", every=every, timeout=FAR) == "done"
            assert len(machine.heard) == 10


@pytest.mark.parametrize("every", [0, 0.005, 10])
async def test_the_time_for_all_of_it_ends_it_with_the_last_reply(every: float) -> None:
    with PtyMachine() as machine:
        machine.handler = lambda _command: b"not yet\n"
        async with lt.serial(machine.port, **BRIEF) as link:
            began = time.monotonic()
            with pytest.raises(lt.LinkTimeout, match="not yet") as caught:
                await link.wait_until("S", lambda text: text == "done", every=every, timeout=0.05)
            assert caught.value.heard == b"not yet"
            assert caught.value.command == "S"
            if every < 1:
                assert time.monotonic() - began >= 0.04
            machine.handler = machine.answer
            await in_step(link)


async def test_the_line_is_free_between_two_questions_and_a_wrong_predicate_is_told() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "error": ERROR}) as link, lt.open_nursery() as nursery:
            waiting = nursery.start_soon(lambda: link.wait_until("ASK", lambda _: False, every=FAR, timeout=2 * FAR))
            await machine.until(lambda: machine.heard)
            await in_step(link)
            waiting.cancel()
            await waiting.outcome()
            with pytest.raises(ZeroDivisionError):
                await link.wait_until("ASK", lambda _: 1 / 0, timeout=FAR)
            machine.handler = lambda _command: b"ERR 4 no\n"
            with pytest.raises(lt.InstrumentError):
                await link.wait_until("ASK", lambda _: False, timeout=FAR)


# -- several messages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", ["^END", 3, lambda message: message.startswith("END")])
async def test_all_messages_of_a_reply_and_not_one_more(until: Any) -> None:
    with PtyMachine() as machine:
        replies = {b"LIST": b"one\ntwo\nEND\nmore\n"}
        machine.handler = lambda command: replies.get(command) or machine.answer(command)
        async with lt.serial(machine.port, **BRIEF) as link:
            for _ in range(3):
                assert await link.query_all("LIST", until=until) == ["one", "two", "END"]
                assert await link.query("ASK") == "re ASK"
            assert await link.query_all("LIST", until=until, parse=str.upper) == ["ONE", "TWO", "END"]


async def test_all_of_a_reply_in_a_framing_of_its_own() -> None:
    with PtyMachine() as machine:
        machine.handler = lambda _command: b"a;b;c;\n"
        async with lt.serial(machine.port, **BRIEF) as link:
            assert await link.query_all("LIST", until=3, framing=lt.Lines(";")) == ["a", "b", "c"]


@pytest.mark.parametrize("limit", ["idle", "timeout"])
async def test_a_reply_that_does_not_end_is_a_timeout_with_what_had_come(limit: str) -> None:
    with PtyMachine() as machine:
        machine.handler = lambda command: b"one\ntwo\n" if command == b"LIST" else machine.answer(command)
        async with lt.serial(machine.port, **BRIEF) as link:
            options: Any = {"idle": 0.02} if limit == "idle" else {"timeout": 0.05}
            with pytest.raises(lt.LinkTimeout) as caught:
                await link.query_all("LIST", until="^END", **options)
            assert b"one" in caught.value.heard
            assert b"two" in caught.value.heard
            assert caught.value.command == "LIST"
            await in_step(link)


async def test_idle_is_for_each_message_and_starts_anew() -> None:
    with PtyMachine() as machine:
        machine.handler = lambda _command: [(0.02, b"%d\n" % number) for number in range(6)]
        async with lt.serial(machine.port, **BRIEF) as link:
            began = time.monotonic()
            got = await link.query_all("LIST", until=6, idle=10)
            assert got == [str(number) for number in range(6)]
            assert time.monotonic() - began >= 0.1


# -- back in step ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PtyMachine, TcpMachine])
@pytest.mark.parametrize("how", ["timed out", "cancelled"])
async def test_a_new_connection_brings_it_back_in_step(kind: Machines, how: str) -> None:
    with kind() as machine:
        options = {**BRIEF, "resync": "reopen", "drain": FAR, "turn": 10}
        async with lt.link(machine.url, **options) as link, lt.open_nursery() as nursery:
            if how == "timed out":
                with pytest.raises(lt.LinkTimeout):
                    await link.query("MOVE", timeout=0.01)
            else:
                moving = nursery.start_soon(link.query, "MOVE")
                await machine.until(lambda: machine.heard)
                moving.cancel()
                await moving.outcome()
            assert await link.query("ASK") == "re ASK"
            assert "opened anew" in " ".join(event.note for event in link.trace())
            await in_step(link)
            assert link.state == "open"


async def test_a_break_that_the_device_has_not_is_told_to_who_waits_for_it() -> None:
    # A pseudo-terminal has no break; what a break does is tested in Rust.
    with PtyMachine() as machine:
        options = {**BRIEF, "resync": lt.Break(0.01), "drain": 0.05, "turn": 10}
        async with lt.serial(machine.port, **options) as link:
            with pytest.raises(lt.LinkTimeout):
                await link.query("MOVE", timeout=0.01)
            with pytest.raises(lt.LinkBusy, match="break"):
                await link.query("ASK")
            machine.finish()
            await machine.until(lambda: b"done\n" in traced(link, "<"))
            await in_step(link)


async def test_a_known_answer_brings_it_back_in_step_past_what_was_owed() -> None:
    with PtyMachine() as machine:
        options = {**BRIEF, "resync": lt.Resync("ASK ping", "^re ASK ping"), "drain": FAR}
        async with lt.serial(machine.port, **options) as link, lt.open_nursery() as nursery:
            moving = nursery.start_soon(link.query, "MOVE")
            await machine.until(lambda: machine.heard)
            moving.cancel()
            await moving.outcome()
            machine.handler = lambda command: b"done\n" + machine.answer(command)  # type: ignore[operator]
            assert await link.query("ASK 1") in ("re ASK 1", "done")
            assert machine.heard[:3] == [b"MOVE", b"ASK ping", b"ASK 1"]


async def test_an_abort_that_was_answered_owes_nothing() -> None:
    with PtyMachine() as machine:
        options = {**BRIEF, "resync": lt.Resync("ASK ping", "^re ASK ping"), "drain": FAR}
        async with lt.serial(machine.port, **options) as link, lt.open_nursery() as nursery:
            moving = nursery.start_soon(lambda: link.query("MOVE", abort=HALTED))
            await machine.until(lambda: machine.heard)
            moving.cancel()
            await moving.outcome()
            await settled()
            assert await link.query("ASK") == "re ASK"
            assert machine.heard == [b"MOVE", b"HALT", b"ASK"]
