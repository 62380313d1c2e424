"""Rows 15 and 16 of pylabrobot.md 2.1: instruments that repeat what they hear, and many on one line."""

import pytest

import labtether as lt
from support.devices import BigBears, Ultraseal
from support.instrument import Reply

# -- row 15 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("echo", "option"), [("all", True), ("line", "line")])
async def test_row_15_ultraseal_family_the_echo_is_taken_out_whatever_the_reply_is(
    echo: str, option: bool | str
) -> None:
    with Ultraseal(echo) as sealer:
        async with lt.serial(sealer.port, 9600, framing="\r", echo=option) as link:  # type: ignore[arg-type]
            assert await link.query("A160") == "ok"
            assert await link.query("?") == "3f"
            # Its reply begins with bytes of the command: today's lstrip takes them for the echo.
            assert await link.query("C", parse=int) == 160
            assert await link.query("E") == "0"
            assert await link.query("bogus") == "syntax"


async def test_row_15_ultraseal_repeats_the_command_without_its_end_and_replies_in_the_same_line() -> None:
    # `A160` -> `A160ok`: what KBiosystems' sealers do, by the driver that strips it.
    with Ultraseal("command") as sealer:
        async with lt.serial(sealer.port, 9600, framing="\r", echo=True) as link:
            assert await link.query("A160") == "ok"
            assert await link.query("?") == "3f"
            assert await link.query("C", parse=int) == 160
            assert await link.query("E") == "0"
            assert await link.query("bogus") == "syntax"


@pytest.mark.parametrize(("echo", "option"), [("all", True), ("line", "line")])
async def test_row_15_ultraseal_an_echo_that_was_left_behind_is_not_an_answer(echo: str, option: bool | str) -> None:
    with Ultraseal(echo) as sealer:
        async with lt.serial(sealer.port, framing="\r", echo=option, drain=30) as link:  # type: ignore[arg-type]
            sealer.mute = True
            with pytest.raises(lt.LinkTimeout):
                await link.query("A160", timeout=0.02)
            await sealer.until_heard(1)
            sealer.send(b"A160\rok\r")  # late: the echo, and the answer
            sealer.mute = False
            assert await link.query("?") == "3f"
            assert await link.query("C", parse=int) == 100


@pytest.mark.parametrize(("echo", "option"), [("all", True), ("line", "line")])
async def test_row_15_ultraseal_an_echo_that_is_not_what_was_written_is_noticed(echo: str, option: bool | str) -> None:
    with Ultraseal(echo) as sealer:

        def garbled(command: bytes) -> Reply:
            sealer.handler = sealer.answer
            return b"A\x00\xff0\rok\r"

        sealer.handler = garbled
        async with lt.serial(sealer.port, 9600, framing="\r", echo=option) as link:  # type: ignore[arg-type]
            with pytest.raises(lt.FrameError) as caught:
                await link.query("A160")
            assert caught.value.command == "A160"
            assert await link.query("?") == "3f"


# -- row 16 ------------------------------------------------------------------------------------------------------------


def shaker(line: lt.Link[str], number: int) -> lt.Link[str]:
    """Shaker `number`: `@A?V` goes out, `@A V1200` comes in, and `?:` from whoever did not understand."""
    reply = r"^(?:@{address} |(?:))(?P<body>[^@].*)"
    return line.at(f"{number:X}", send="@{address}{body}", reply=reply)


async def test_row_16_bigbear_sixteen_shakers_on_one_line_each_with_its_own_answer() -> None:
    with BigBears(16) as chain:
        line = lt.serial(chain.port, 9600, framing="\r")
        shakers = {number: shaker(line, number) for number in range(1, 17) if number < 16}
        async with line, lt.open_nursery() as nursery:
            assert await line.query("~") == "16"

            async def use(number: int, one: lt.Link[str]) -> None:
                async with one:
                    await one.send(f"V{100 * number}")
                    assert await one.query("?V", parse=lambda reply: int(reply[1:])) == 100 * number
                    await one.send("G")
                    assert await one.query("Q") == "SHAKING"

            for number, one in shakers.items():
                nursery.start_soon(use, number, one)
        assert chain.shaking == set(shakers)
        assert chain.rpm == {number: 100 * number if number in shakers else 0 for number in range(1, 17)}
        assert b"@AV1000" in chain.heard


async def test_row_16_bigbear_what_one_says_too_late_is_not_anothers_answer() -> None:
    with BigBears() as chain:
        line = lt.serial(chain.port, 9600, framing="\r", drain=0.01)
        third, tenth = shaker(line, 3), shaker(line, 10)
        async with third, tenth:
            chain.slow.add(3)
            with pytest.raises(lt.LinkTimeout):
                await third.query("?V", timeout=0.02)
            assert await tenth.query("?V") == "V0"
            with pytest.raises(lt.LinkTimeout):
                await third.query("Q", timeout=0.02)
            # Now it speaks, before the other can answer.
            answer = chain.handler

            def late(command: bytes) -> Reply:
                chain.handler = answer
                chain.speak()
                return answer(command)

            chain.handler = late
            assert await tenth.query("Q") == "STOPPED"
            assert await third.query("?V") == "V0"


async def test_row_16_bigbear_the_first_opens_the_line_and_the_last_closes_it() -> None:
    with BigBears() as chain:
        line = lt.serial(chain.port, 9600, framing="\r")
        first, second = shaker(line, 1), shaker(line, 2)
        await first.setup()
        assert (first.state, second.state) == ("open", "closed")
        await second.setup()
        await second.setup()
        assert await second.query("Q") == "STOPPED"
        await first.stop()
        await first.stop()
        assert await second.query("Q") == "STOPPED"
        with pytest.raises(lt.LinkClosed):
            await first.query("Q")
        with pytest.raises(lt.LinkBusy):
            await lt.serial(chain.port, 9600, framing="\r").setup()
        await second.stop()
        async with lt.serial(chain.port, 9600, framing="\r") as free:
            assert await free.query("~") == "16"


async def test_row_16_bigbear_one_that_is_left_alone_harms_no_other() -> None:
    with BigBears() as chain:
        line = lt.serial(chain.port, 9600, framing="\r", drain=30)
        third, tenth = shaker(line, 3), shaker(line, 10)
        async with third, tenth, lt.open_nursery() as nursery:
            chain.slow.add(3)
            left = nursery.start_soon(lambda: third.query("Q", timeout=60))
            await chain.until(lambda: len(chain.kept) == 1, "the third has heard it")
            left.cancel()
            assert isinstance(await left.outcome(), lt.Cancelled)
            other = nursery.start_soon(tenth.query, "?V")
            chain.speak()
            assert await other == "V0"
            assert await third.query("Q") == "STOPPED"


async def test_row_16_bigbear_an_exchange_of_one_shaker_has_the_line_to_itself() -> None:
    with BigBears() as chain:
        line = lt.serial(chain.port, 9600, framing="\r", error=r"^\?:$")
        third, tenth = shaker(line, 3), shaker(line, 10)
        async with third, tenth, lt.open_nursery() as nursery:
            async with third.exchange(timeout=30) as talk:
                await talk.send("V1200")
                other = nursery.start_soon(tenth.query, "Q")
                assert await talk.query("?V") == "V1200"
                assert chain.heard == [b"@3V1200", b"@3?V"]
            assert await other == "STOPPED"
            with pytest.raises(lt.InstrumentError):
                await third.query("W")


async def test_row_16_bigbear_a_lost_line_is_lost_to_all() -> None:
    with BigBears() as chain:
        line = lt.serial(chain.port, 9600, framing="\r")
        shakers = [shaker(line, number) for number in (1, 2, 3)]
        for one in shakers:
            await one.setup()
        chain.unplug()
        for one in shakers:
            with pytest.raises(lt.LinkLost):
                await one.query("Q")
        for one in shakers:
            await one.stop()
        assert line.state in ("closed", "lost")
