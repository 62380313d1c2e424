"""Row 13 of pylabrobot.md 2.1: what is left half way is stopped, and whoever left is told what became of it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import labtether as lt
from support.devices import EL406, BioTek, El406Frames, GenoGrinder, Masterflex, MicroSpin, PreciseFlex
from support.devices.base import Device

FLEX = lt.Lines("\r\n", send_terminator="\n")
HALT = lt.Abort("halt", reply="^0$", timeout=30)


async def left_half_way(
    device: Device, work: Callable[[], Awaitable[object]], begun: Callable[[], bool]
) -> tuple[lt.Cancelled, list[str]]:
    """Begin `work`, cancel it when `begun`; its outcome, and what the notes on its cancellation say of the exchange."""
    notes: list[str] = []

    async def noting() -> None:
        try:
            await work()
        except BaseException as error:
            notes.extend(note for note in getattr(error, "__notes__", []) if note.startswith("labtether: "))
            raise

    async with lt.open_nursery() as nursery:
        handle = nursery.start_soon(noting)
        await device.until(begun, "begun")
        handle.cancel("the stop button")
        outcome = await handle.outcome()
    assert isinstance(outcome, lt.Cancelled)
    return outcome, notes


def told(outcome: lt.Cancelled, notes: list[str], effect: str) -> None:
    """The outcome and the note say the same."""
    assert outcome.effect == effect, outcome
    assert [one[2] for one in outcome.effects] == [effect]
    assert len(notes) == 1, notes
    assert notes[0].endswith(f": {effect}"), notes


async def test_row_13_preciseflex_is_halted_and_the_link_stays() -> None:
    with PreciseFlex() as arm:
        async with lt.tcp(arm.host, arm.port, framing=FLEX, error=r"^(?P<code>-\d+) (?P<text>.*)") as link:
            talks: list[lt.Exchange[str]] = []

            async def move() -> None:
                async with link.exchange(timeout=60, abort=HALT) as talk:
                    talks.append(talk)
                    assert await talk.query("movej 1") == "0"
                    await talk.query("waitForEom")

            told(*await left_half_way(arm, move, lambda: b"waitForEom" in arm.heard), "halted")
            assert talks[0].effect == "halted"
            assert (arm.halts, arm.moving, arm.travelled) == (1, False, 0)
            for _ in range(3):
                assert await link.query("wherej") == "0 113 81 218 64 70"


async def test_row_13_preciseflex_whoever_left_goes_on_only_when_the_arm_has_answered() -> None:
    with PreciseFlex() as arm:
        arm.holds_halt = True
        async with lt.tcp(arm.host, arm.port, framing=FLEX, error=r"^(?P<code>-\d+)") as link:
            async with lt.open_nursery() as nursery:

                async def move() -> None:
                    async with link.exchange(timeout=60, abort=HALT) as talk:
                        assert await talk.query("movej 1") == "0"
                        await talk.query("waitForEom")

                moving = nursery.start_soon(move)
                await arm.until(lambda: b"waitForEom" in arm.heard, "it moves")
                moving.cancel()
                await arm.until(lambda: arm.halts == 1, "the halt")
                where = nursery.start_soon(link.query, "wherej")
                # Neither is the await over while the arm may still move, nor does anybody else speak to it.
                assert not moving.done
                assert arm.heard[-1] == b"halt"
                arm.let_halt_through()
                outcome = await moving.outcome()
                assert isinstance(outcome, lt.Cancelled)
                assert outcome.effect == "halted"
                assert await where == "0 113 81 218 64 70"


async def test_row_13_preciseflex_that_does_not_answer_the_halt_leaves_it_unconfirmed() -> None:
    with PreciseFlex() as arm:
        arm.deaf_to_halt = True
        async with lt.tcp(arm.host, arm.port, framing=FLEX, error=r"^(?P<code>-\d+)", drain=0.05) as link:

            async def move() -> None:
                async with link.exchange(timeout=60, abort=lt.Abort("halt", reply="^0$", timeout=0.05)) as talk:
                    assert await talk.query("movej 1") == "0"
                    await talk.query("waitForEom")

            told(*await left_half_way(arm, move, lambda: b"waitForEom" in arm.heard), "unconfirmed")
            arm.let_halt_through()
            assert await link.query("wherej", timeout=30) == "0 113 81 218 64 70"


async def test_row_13_preciseflex_a_query_with_an_abort_of_its_own() -> None:
    with PreciseFlex() as arm:
        async with lt.tcp(arm.host, arm.port, framing=FLEX, error=r"^(?P<code>-\d+)") as link:
            assert await link.query("movej 1") == "0"
            wait = left_half_way(
                arm, lambda: link.query("waitForEom", timeout=60, abort=HALT), lambda: b"waitForEom" in arm.heard
            )
            told(*await wait, "halted")
            assert await link.query("wherej") == "0 113 81 218 64 70"


async def test_row_13_preciseflex_a_deadline_halts_it_too() -> None:
    with PreciseFlex() as arm:
        async with lt.tcp(arm.host, arm.port, framing=FLEX, error=r"^(?P<code>-\d+)") as link:
            with pytest.raises(lt.LinkTimeout) as caught:
                async with link.exchange(timeout=0.1, abort=HALT) as talk:
                    await talk.send("movej 1")
                    assert await talk.receive(match="^0") == "0"
                    await talk.query("waitForEom")
            assert caught.value.effect == "halted"
            assert (arm.halts, arm.moving) == (1, False)
            assert await link.query("wherej") == "0 113 81 218 64 70"


async def test_row_13_preciseflex_an_error_in_the_block_halts_it_and_a_finished_block_does_not() -> None:
    with PreciseFlex() as arm:
        async with lt.tcp(arm.host, arm.port, framing=FLEX, error=r"^(?P<code>-\d+)") as link:
            with pytest.raises(ZeroDivisionError):
                async with link.exchange(timeout=60, abort=HALT) as talk:
                    assert await talk.query("movej 1") == "0"
                    await talk.send("waitForEom")
                    raise ZeroDivisionError
            assert talk.effect == "halted"
            assert arm.halts == 1
            async with link.exchange(timeout=60, abort=HALT) as talk:
                assert await talk.query("movej 2") == "0"
                await talk.send("waitForEom")
                await arm.until(lambda: arm.heard[-1] == b"waitForEom", "it moves")
                arm.arrive()
                assert await talk.receive() == "0"
            assert (arm.halts, arm.travelled) == (1, 1)


async def test_row_13_preciseflex_nothing_is_halted_that_never_began() -> None:
    with PreciseFlex() as arm:
        async with lt.tcp(arm.host, arm.port, framing=FLEX) as link, lt.open_nursery() as nursery:
            async with link.exchange(timeout=60) as first:
                assert await first.query("wherej") == "0 113 81 218 64 70"
                waiting = nursery.start_soon(lambda: link.query("movej 1", abort=HALT, timeout=60))
                await first.query("wherej")
                waiting.cancel()
                outcome = await waiting.outcome()
                assert isinstance(outcome, lt.Cancelled)
                assert outcome.effect == "never_started"
            assert await link.query("wherej") == "0 113 81 218 64 70"
        assert arm.halts == 0
        assert b"movej 1" not in arm.heard


async def test_row_13_microspin_aborted_and_its_own_last_words_are_not_the_next_answer() -> None:
    # Today's driver counts the terminators it is owed after a cancel, and drains them.
    with MicroSpin() as centrifuge:
        abort = lt.Abort("abort", reply="^OK! abort", timeout=30)
        async with lt.tcp(centrifuge.host, centrifuge.port, framing="\r\n", error="^(ABORTED|ERROR)!") as link:
            for n in range(1, 4):
                spin = left_half_way(
                    centrifuge,
                    lambda: link.query_all("spin 500", until="^OK!", timeout=60, abort=abort),
                    lambda: centrifuge.spinning is not None,
                )
                told(*await spin, "halted")
                assert (centrifuge.aborted, centrifuge.finished) == (n, 0)
                lines = await link.query_all("status", until="^OK!")
                assert (len(lines), lines[0]) == (4, f"ACK! status {3 * n}")


async def test_row_13_microspin_says_itself_that_it_was_cut_short_even_if_nobody_waits_for_a_part_just_then() -> None:
    with MicroSpin() as centrifuge:
        abort = lt.Abort("abort", reply="^OK! abort", timeout=30)
        async with lt.tcp(centrifuge.host, centrifuge.port, framing="\r\n", error="^(ABORTED|ERROR)!") as link:

            async def spin() -> None:
                async with link.exchange(timeout=60, abort=abort) as talk:
                    assert await talk.query("spin 500") == "ACK! spin 500 1"
                    begun.set()
                    await lt.sleep(60)

            begun = lt.Event()
            told(*await left_half_way(centrifuge, spin, begun.is_set), "halted")
            assert centrifuge.aborted == 1
            assert len(await link.query_all("status", until="^OK!")) == 4


async def test_row_13_microspin_that_was_done_before_the_abort_ran_to_completion() -> None:
    with MicroSpin() as centrifuge:
        # The spin ends while the abort is on its way.
        def end_first(command: bytes) -> Any:
            if command == b"abort" and centrifuge.spinning is not None:
                centrifuge.stop_spinning()
            return centrifuge.answer(command)

        centrifuge.handler = end_first
        abort = lt.Abort("abort", reply="^OK! abort", timeout=30)
        async with lt.tcp(centrifuge.host, centrifuge.port, framing="\r\n", error="^(ABORTED|ERROR)!") as link:

            async def spin() -> None:
                async with link.exchange(timeout=60, abort=abort) as talk:
                    assert await talk.query("spin 500") == "ACK! spin 500 1"
                    begun.set()
                    await talk.receive(match="^OK! spin")

            begun = lt.Event()
            told(*await left_half_way(centrifuge, spin, begun.is_set), "ran_to_completion")
            assert (centrifuge.aborted, centrifuge.finished) == (0, 1)
            assert len(await link.query_all("status", until="^OK!")) == 4


async def test_row_13_biotek_one_raw_letter_ends_a_reading() -> None:
    with BioTek() as reader:
        framing = lt.Lines("\x03", send_terminator="")
        abort = lt.Abort(lt.Raw(b"x"), reply="^\x060000", timeout=30)
        async with lt.serial(reader.port, 9600, stopbits=2, framing=framing) as link:

            async def read() -> None:
                async with link.exchange(timeout=180, abort=abort) as talk:
                    assert await talk.query("O") == "\x060000"
                    begun.set()
                    await talk.receive(timeout=170)

            begun = lt.Event()
            told(*await left_half_way(reader, read, begun.is_set), "halted")
            assert (reader.aborts, reader.reading) == (1, False)
            assert await link.query("h") == "\x062350000"


async def test_row_13_genogrinder_stops_mixing() -> None:
    with GenoGrinder() as grinder:
        abort = lt.Abort("*06*", reply="^Standby", timeout=30)
        async with lt.serial(grinder.port, 9600, framing="\r") as link:

            async def mix() -> None:
                async with link.exchange(timeout=100, abort=abort) as talk:
                    assert await talk.query("*02,045,1500*") == "Parameters Set"
                    assert await talk.query("*04*") == "Running Sample"
                    begun.set()
                    await talk.receive(match="Run Complete")

            begun = lt.Event()
            told(*await left_half_way(grinder, mix, begun.is_set), "halted")
            assert (grinder.stops, grinder.doing) == (1, b"Standby")
            assert await link.query("*01*") == "Standby"


async def test_row_13_el406_an_abort_frame_and_both_frames_that_answer_it() -> None:
    with EL406() as washer:
        abort = lt.Abort(b"\x89\0", reply=rb"(?s)^\x89\x00", timeout=30)
        async with lt.serial(washer.port, 38400, stopbits=2, framing=El406Frames()) as link:

            async def reset() -> None:
                async with link.exchange(timeout=120, abort=abort) as talk:
                    assert await talk.query(b"\x70\0") == b"\x06"
                    begun.set()
                    await talk.receive()

            begun = lt.Event()
            told(*await left_half_way(washer, reset, begun.is_set), "halted")
            assert (washer.aborts, washer.completed) == (1, 0)
            async with link.exchange(timeout=30) as talk:
                assert await talk.query(b"\x73\0") == b"\x06"
                assert await talk.receive() == b"\x73\0"


async def test_row_13_masterflex_halts_though_nothing_is_owed_any_more() -> None:
    with Masterflex() as pump:
        one = lt.Fixed(1)
        abort = lt.Abort(lt.Raw(b"\x02P02H\r"), timeout=30)
        async with lt.serial(pump.port, 4800, framing=lt.Enclosed(b"\x02", b"\r")) as link:

            async def dispense() -> None:
                async with link.exchange(timeout=600, abort=abort) as talk:
                    assert await talk.query(b"P02S+100G0", framing=one) == b"\x06"
                    begun.set()
                    await lt.sleep(600)

            begun = lt.Event()
            told(*await left_half_way(pump, dispense, begun.is_set), "halted_at_boundary")
            await pump.until(lambda: pump.halts == 1, "the halt, which nothing answers")
            assert pump.running is None
            assert await link.query(b"P02I") == b"P02I0"
