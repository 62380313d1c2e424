"""Replies that say no: busy, errors, the question whether all went well; and messages that are no reply."""

import logging
import re
from typing import Any

import anyio
import pytest

import labtether as lt
from support.exchanges import BRIEF, ERROR, HALTED, PtyMachine, in_step, until

BUSY = r"^BUSY (?P<code>\d+) (?P<text>.*)"


def busy_for(machine: PtyMachine, times: int) -> None:
    """It says so often that it is busy, then answers."""
    left = [times]

    def answer(command: bytes) -> Any:
        if left[0]:
            left[0] -= 1
            return b"BUSY 5 warming up\n"
        return machine.answer(command)

    machine.handler = answer


def refusing(machine: PtyMachine, *commands: bytes) -> None:
    """It answers these with an error."""
    machine.handler = lambda command: b"ERR 3 no such thing\n" if command in commands else machine.answer(command)


@pytest.mark.parametrize("inside", [None, "check", "abort", "face"])
async def test_busy_is_asked_again(inside: str | None) -> None:
    with PtyMachine() as machine:
        check = lt.Check("ASK check", ok="^re") if inside == "check" else None
        async with lt.serial(machine.port, **{**BRIEF, "busy": BUSY, "check": check}) as link:
            busy_for(machine, 3)
            abort = HALTED if inside == "abort" else None
            if inside == "face":
                async with link.at("2", send="/{address}{body}", reply="^(/{address})?(?P<body>.*)") as face:
                    assert await face.query("ASK", retries=3, retry_delay=0) == "re ASK"
                assert machine.heard == [b"/2ASK"] * 4
                return
            assert await link.query("ASK", retries=3, retry_delay=0, abort=abort) == "re ASK"
            assert machine.heard[:4] == [b"ASK"] * 4
            assert machine.halts == 0


async def test_busy_once_too_often_says_so_with_its_parts() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "busy": BUSY, "error": ERROR}) as link:
            busy_for(machine, 3)
            with pytest.raises(lt.InstrumentBusy) as caught:
                await link.query("ASK", retries=2, retry_delay=0)
            error = caught.value
            assert (error.code, error.text, error.reply) == ("5", "warming up", "BUSY 5 warming up")
            assert (error.command, error.link, error.heard) == ("ASK", link.name, b"BUSY 5 warming up")
            assert isinstance(error, lt.InstrumentError)
            assert machine.heard == [b"ASK"] * 3
            await in_step(link)


async def test_a_cancelled_pause_between_two_tries_asks_no_more() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "busy": BUSY}) as link, lt.open_nursery() as nursery:
            busy_for(machine, 1000)
            asking = nursery.start_soon(lambda: link.query("ASK", retries=9, retry_delay=3600))
            await machine.until(lambda: machine.heard)
            assert not asking.done
            asking.cancel()
            await asking.outcome()
            busy_for(machine, 0)
            await in_step(link)
            assert machine.heard.count(b"ASK") == 1


async def test_an_error_is_raised_by_a_query_and_by_a_receive_that_did_not_ask_for_it() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "error": ERROR}) as link:
            refusing(machine, b"BAD")
            with pytest.raises(lt.InstrumentError, match="no such thing") as caught:
                await link.query("BAD", parse=lt.number, retries=5)
            assert type(caught.value) is lt.InstrumentError
            assert (caught.value.code, caught.value.text) == ("3", "no such thing")
            assert caught.value.reply == "ERR 3 no such thing"
            async with link.exchange() as talk:
                with pytest.raises(lt.InstrumentError):
                    await talk.query("BAD")
                await talk.send("BAD")
                with pytest.raises(lt.InstrumentError):
                    await talk.receive()
                await talk.send("BAD")
                assert await talk.receive(match="^ERR") == "ERR 3 no such thing"
                await talk.send("BAD")
                with pytest.raises(lt.InstrumentError):
                    await talk.receive(match="^re")
                assert await talk.query("ASK") == "re ASK"
            with pytest.raises(lt.InstrumentError):
                await link.query_all("BAD", until=3)
            await in_step(link)
            assert machine.heard.count(b"BAD") == 6


async def test_an_error_asked_for_by_a_function_is_no_error() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "error": ERROR}) as link:
            refusing(machine, b"BAD")
            async with link.exchange() as talk:
                await talk.send("BAD")
                assert await talk.receive(match=lambda message: message.startswith("ERR")) == "ERR 3 no such thing"


@pytest.mark.parametrize("how", ["raise", "skip"])
async def test_an_error_ends_a_poll_or_is_passed_over(how: str) -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "error": ERROR}) as link:
            count = [0]

            def answer(_command: bytes) -> bytes:
                count[0] += 1
                return b"ERR 3 no\n" if count[0] == 3 else b"%d\n" % count[0]

            machine.handler = answer
            values: list[float] = []
            async with link.poll("ASK", every=0, parse=lt.number, on_error=how, count=5) as readings:
                if how == "raise":
                    with pytest.raises(lt.InstrumentError):
                        async for reading in readings:
                            values.append(reading.value)
                    assert values == [1, 2]
                else:
                    values += [reading.value async for reading in readings]
                    assert values == [1, 2, 4, 5]


# -- check= ------------------------------------------------------------------------------------------------------------

CHECK = lt.Check("SYST:ERR?", ok=r"^[+-]?0,")


def with_errors(machine: PtyMachine, *errors: bytes) -> None:
    """It has these to tell, one for each time it is asked."""
    left = list(errors)

    def answer(command: bytes) -> Any:
        if command == b"SYST:ERR?":
            return (left.pop(0) if left else b'+0,"No error"') + b"\n"
        return None if command == b"QUIET" else machine.answer(command)

    machine.handler = answer


async def test_each_command_is_followed_by_the_question_whether_it_went_well() -> None:
    with PtyMachine() as machine:
        with_errors(machine)
        async with lt.serial(machine.port, **{**BRIEF, "check": CHECK}) as link, anyio.create_task_group() as tasks:

            async def ask(number: int) -> None:
                assert await link.query(f"ASK {number}") == f"re ASK {number}"

            for number in range(5):
                tasks.start_soon(ask, number)
                tasks.start_soon(link.send, "QUIET")
        assert machine.heard[1::2] == [b"SYST:ERR?"] * 10
        assert b"SYST:ERR?" not in machine.heard[::2]


async def test_what_went_wrong_is_told_with_its_code() -> None:
    with PtyMachine() as machine:
        with_errors(machine, b'-113,"Undefined header"')
        async with lt.serial(machine.port, **{**BRIEF, "check": CHECK}) as link:
            with pytest.raises(lt.InstrumentError, match="Undefined header") as caught:
                await link.query("ASK")
            assert (caught.value.code, caught.value.text, caught.value.command) == ("-113", "Undefined header", "ASK")
            assert await link.query("ASK 2") == "re ASK 2"


async def test_a_query_that_was_answered_ran_to_completion_whatever_its_check_says() -> None:
    with PtyMachine() as machine:
        with_errors(machine, b'-113,"Undefined header"')
        async with lt.serial(machine.port, **{**BRIEF, "check": CHECK}) as link:
            with pytest.raises(lt.InstrumentError) as caught:
                await link.query("ASK")
            assert caught.value.effect in (None, "ran_to_completion")


async def test_what_went_wrong_with_a_message_that_has_no_answer_is_told() -> None:
    with PtyMachine() as machine:
        with_errors(machine, b'-222,"Data out of range"')
        async with lt.serial(machine.port, **{**BRIEF, "timeout": 0.2, "check": CHECK}) as link:
            with pytest.raises(lt.InstrumentError) as caught:
                await link.send("QUIET")
            assert (caught.value.code, caught.value.text) == ("-222", "Data out of range")
            assert caught.value.command == "QUIET"


async def test_a_failed_check_of_a_message_that_has_no_answer_leaves_no_debt() -> None:
    with PtyMachine() as machine:
        with_errors(machine, b'-222,"Data out of range"')
        async with lt.serial(machine.port, **{**BRIEF, "check": CHECK}) as link:
            with pytest.raises(lt.InstrumentError):
                await link.send("QUIET")
            assert await link.query("ASK", turn=0.3) == "re ASK"


async def test_a_check_by_a_function_and_an_urgent_message_that_has_none() -> None:
    with PtyMachine() as machine:
        with_errors(machine)
        check = lt.Check("SYST:ERR?", ok=lambda reply: "No error" in reply)
        async with lt.serial(machine.port, **{**BRIEF, "check": check}) as link:
            assert await link.query("ASK") == "re ASK"
            await link.send("QUIET", urgent=True)
            await machine.until(lambda: b"QUIET" in machine.heard)
            assert machine.heard == [b"ASK", b"SYST:ERR?", b"QUIET"]


# -- what is no reply --------------------------------------------------------------------------------------------------


async def test_what_is_unsolicited_is_never_a_reply_and_nothing_of_it_is_lost() -> None:
    with PtyMachine() as machine:
        machine.handler = lambda command: b"EVENT a\n" + b"re " + command + b"\nEVENT b\n"
        async with lt.serial(machine.port, **{**BRIEF, "unsolicited": "^EVENT"}) as link:
            async with link.messages() as heard, link.messages("b$") as some:
                for number in range(20):
                    assert await link.query(f"ASK {number}") == f"re ASK {number}"
                async with link.exchange() as talk:
                    await talk.send("ASK")
                    assert await talk.receive() == "re ASK"
                assert [await anext(heard) for _ in range(42)] == ["EVENT a", "EVENT b"] * 21
                assert [await anext(some) for _ in range(21)] == ["EVENT b"] * 21
            assert await link.query("ASK") == "re ASK"
            assert await link.receive() == "EVENT a"
            assert await link.receive(match=lambda message: message.endswith("b")) == "EVENT b"


async def test_what_is_unsolicited_neither_pays_a_debt_nor_answers_an_abort() -> None:
    with PtyMachine("held") as machine:
        async with lt.serial(machine.port, **{**BRIEF, "unsolicited": "^EVENT"}) as link, lt.open_nursery() as nursery:
            asking = nursery.start_soon(lambda: link.query("MOVE", abort=lt.Abort("HALT", reply="halted", timeout=10)))
            await machine.until(lambda: machine.heard)
            asking.cancel()
            await machine.until(lambda: machine.halts)
            machine.send(b"EVENT halted\n")
            assert await link.receive() == "EVENT halted"
            assert not asking.done
            machine.let_through()
            await asking.outcome()
            late = nursery.start_soon(lambda: link.query("MOVE", timeout=60))
            await machine.until(lambda: machine.heard.count(b"MOVE") == 2)
            late.cancel()
            await late.outcome()
            machine.send(b"EVENT late\n")
            assert await link.receive() == "EVENT late"
            next_one = nursery.start_soon(link.query, "ASK")
            machine.send(b"done\n")
            assert await next_one == "re ASK"


async def test_messages_that_nobody_fetches_are_dropped_oldest_first_and_counted() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "unsolicited": "^EVENT"}) as link:
            async with link.messages(capacity=10) as heard:
                machine.send(b"".join(b"EVENT %d\n" % number for number in range(100)))
                assert await link.query("ASK") == "re ASK"
                assert [await anext(heard) for _ in range(10)] == [f"EVENT {number}" for number in range(90, 100)]
                assert heard.dropped == 90


async def test_a_failed_keepalive_is_in_the_log_at_once_and_raised_at_the_next_touch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with PtyMachine() as machine:
        keepalive = lt.KeepAlive("MOVE", every=0.01)
        async with lt.serial(machine.port, **{**BRIEF, "timeout": 0.02, "keepalive": keepalive}) as link:

            def logged() -> bool:
                return any(
                    record.levelno >= logging.ERROR and re.search("keep-?alive", record.message.lower())
                    for record in caplog.records
                )

            await until(logged, lambda: caplog.records)
            with pytest.raises(lt.LinkTimeout) as caught:
                await link.query("ASK")
            assert caught.value.command == "MOVE"
