"""Rows 1 and 2 of pylabrobot.md 2.1: one exchange at a time, one deadline; and leaving one harms nobody."""

import anyio
import pytest

import labtether as lt
from support.devices import Balance, Keyence, XPeel


async def test_row_1_mettler_questions_asked_at_once_each_get_their_own_answer() -> None:
    # Under asyncio.gather the drivers of today mix their bytes on the line.
    expected = {"I4": 'I4 A "B021002593"', "SI": "S D      42.00000 g", "Z": "Z A", "M21 0 0": "M21 A"}
    with Balance() as balance:
        async with lt.serial(balance.port, 9600, framing="\r\n") as link, anyio.create_task_group() as tasks:

            async def ask(command: str) -> None:
                assert await link.query(command) == expected[command]

            for _ in range(10):
                for command in expected:
                    tasks.start_soon(ask, command)
        assert sorted(balance.heard) == sorted(10 * [command.encode() for command in expected])


async def test_row_1_mettler_the_deadline_counts_from_the_first_byte_and_says_whose_move_it_is() -> None:
    with Balance() as balance:
        async with lt.serial(balance.port, 9600, framing="\r\n", name="scale") as link:
            with pytest.raises(lt.LinkTimeout, match="scale") as caught:
                await link.query("S", timeout=0.05)
    assert caught.value.command == "S"
    assert caught.value.effect == "unconfirmed"
    assert caught.value.elapsed is not None
    assert caught.value.elapsed >= 0.05


async def test_row_1_xpeel_one_deadline_holds_for_all_parts_of_an_exchange() -> None:
    # Each `*ack` comes in time; with a time limit for each read, as today, this would never end.
    with XPeel() as peeler:
        peeler.nags = True
        async with lt.serial(peeler.port, 9600, framing="\r\n", drain=30) as link:
            with pytest.raises(lt.LinkTimeout) as caught:
                async with link.exchange(timeout=0.2) as talk:
                    await talk.send("*xpeel:42")
                    async for part in talk:
                        assert part == "*ack"
            assert caught.value.elapsed is not None
            assert caught.value.elapsed >= 0.2
            peeler.finish()
            assert await link.query("*tapeleft", timeout=30) == "*tape:22,10"


async def test_row_1_xpeel_nobody_else_speaks_while_an_exchange_is_open() -> None:
    # A command that comes while it peels is lost: whoever sends one waits for ever.
    with XPeel() as peeler:
        async with lt.serial(peeler.port, 9600, framing="\r\n") as link, lt.open_nursery() as nursery:
            async with link.exchange(timeout=30) as talk:
                await talk.send("*xpeel:42")
                tape = nursery.start_soon(link.query, "*tapeleft")
                assert await talk.receive() == "*ack"
                assert peeler.heard == [b"*xpeel:42"]
                peeler.finish()
                assert await talk.receive() == "*ready:00,00,00"
            assert await tape == "*tape:22,10"
        assert peeler.heard == [b"*xpeel:42", b"*tapeleft"]


@pytest.mark.parametrize("when", ["while_nobody_asks", "while_the_next_waits"])
async def test_row_2_mettler_a_weight_that_comes_too_late_answers_no_other_question(when: str) -> None:
    # Measured today: it shifts every later reply by one, for ever.
    with Balance() as balance:
        async with lt.serial(balance.port, 9600, framing="\r\n", drain=30) as link, lt.open_nursery() as nursery:
            with pytest.raises(lt.LinkTimeout):
                await link.query("S", timeout=0.02)
            if when == "while_nobody_asks":
                balance.settle(42)
                await balance.until(lambda: any(b"42.0" in event.data for event in link.trace()), "the late weight")
                assert await link.query("I4") == 'I4 A "B021002593"'
            else:
                serial_number = nursery.start_soon(link.query, "I4")
                balance.settle(42)
                assert await serial_number == 'I4 A "B021002593"'
            balance.settle(43.5)
            assert await link.query("S", parse=lt.number) == 43.5
            assert await link.query("Z") == "Z A"
            assert "late" in " ".join(event.note for event in link.trace())


async def test_row_2_mettler_a_cancelled_weighing_ends_at_once_and_its_weight_reaches_nobody() -> None:
    # Today the thread stays in read(): the cancel, and the next command, wait for the balance.
    with Balance() as balance:
        async with lt.serial(balance.port, 9600, framing="\r\n") as link, lt.open_nursery() as nursery:
            weighing = nursery.start_soon(lambda: link.query("S", timeout=60))
            await balance.until_heard(1)
            weighing.cancel()
            outcome = await weighing.outcome()
            assert isinstance(outcome, lt.Cancelled)
            assert outcome.effects == ((link.name, b"S", "unconfirmed"),)
            assert balance.waiting == 1, "the balance has not answered yet"
            tare = nursery.start_soon(link.query, "T")
            balance.settle(7)
            assert await tare == "T S       7.00000 g"
            assert await link.query("S", parse=lt.number) == 7


async def test_row_2_mettler_a_thousand_cancelled_weighings_and_not_one_wrong_answer() -> None:
    with Balance() as balance:
        balance.settle(0)
        async with lt.serial(balance.port, 115200, framing="\r\n", settle=0.001) as link:
            for count in range(1000):
                with anyio.move_on_after(0) as soon:
                    soon.deadline = anyio.current_time() + count % 7 * 0.0002
                    await link.query("SI")
                if count % 50 == 0:
                    assert await link.query("I4") == 'I4 A "B021002593"'


async def test_row_2_keyence_half_a_barcode_is_not_lost_with_the_receive_that_is_cancelled() -> None:
    with Keyence() as reader:
        async with lt.serial(reader.port, 9600, framing="\r") as link, lt.open_nursery() as nursery:
            reader.send(b"4006381")
            waiting = nursery.start_soon(link.receive)
            await reader.until(lambda: any(b"4006381" in event.data for event in link.trace()), "half of it")
            waiting.cancel()
            assert isinstance(await waiting.outcome(), lt.Cancelled)
            reader.send(b"333931\r")
            assert await link.receive() == "4006381333931"


async def test_row_2_keyence_raw_bytes_that_a_cancelled_read_had_are_there_for_the_next() -> None:
    with Keyence() as reader:
        async with lt.serial(reader.port, 9600, framing=None) as link, lt.open_nursery() as nursery:
            reader.send(b"4006381")
            waiting = nursery.start_soon(link.read, 13)
            await reader.until(lambda: any(b"4006381" in event.data for event in link.trace()), "half of it")
            waiting.cancel()
            await waiting.outcome()
            reader.send(b"333931\r")
            assert await link.read(13) == b"4006381333931"
            assert await link.read_until(b"\r") == b"\r"
