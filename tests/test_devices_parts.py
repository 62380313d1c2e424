"""Rows 7, 9 and 10 of pylabrobot.md 2.1: answers in parts, words nobody asked for, and many commands in flight."""

import pytest

import labtether as lt
from support.devices import A4S, EL406, El406Frames, GenoGrinder, Keyence, MicroSpin, Star, XPeel, el406_frame

# -- row 7 -------------------------------------------------------------------------------------------------------------


async def test_row_7_xpeel_ack_soon_and_ready_much_later_each_with_its_own_time() -> None:
    with XPeel() as peeler:
        async with lt.serial(peeler.port, 9600, framing="\r\n") as link, lt.open_nursery() as nursery:

            async def peel() -> str:
                async with link.exchange(timeout=60) as talk:
                    await talk.send("*xpeel:42")
                    await talk.receive(match=r"^\*ack", timeout=30)
                    acknowledged.set()
                    ready: str = await talk.receive(match=r"^\*ready", timeout=50)
                    return ready

            acknowledged = lt.Event()
            peeled = nursery.start_soon(peel)
            await acknowledged.wait()
            assert not peeled.done
            peeler.finish(4)
            assert await peeled == "*ready:04,00,00", "4: seal not removed"


async def test_row_7_xpeel_a_phase_that_is_late_is_noticed_long_before_the_end() -> None:
    with XPeel() as peeler:
        peeler.peeling = True  # it hears nothing
        async with lt.serial(peeler.port, 9600, framing="\r\n", drain=0) as link:
            async with link.exchange(timeout=600) as talk:
                await talk.send("*xpeel:42")
                with pytest.raises(lt.LinkTimeout) as caught:
                    await talk.receive(match=r"^\*ack", timeout=0.02)
                assert caught.value.command == "*xpeel:42"
                peeler.finish()
                assert await talk.receive(match=r"^\*ready") == "*ready:00,00,00"
            assert await link.query("*stat") == "*ready:00,00,00"


async def test_row_7_xpeel_a_part_that_was_given_up_is_not_waited_for_till_the_end_of_the_exchange() -> None:
    with XPeel() as peeler:
        async with lt.serial(peeler.port, 9600, framing="\r\n", drain=0.01) as link:
            async with link.exchange(timeout=600) as talk:
                assert await talk.query("*tapeleft") == "*tape:22,10"
                with pytest.raises(lt.LinkTimeout):
                    await talk.receive(timeout=0.01)
            assert await link.query("*stat") == "*ready:00,00,00"


async def test_row_7_xpeel_what_came_before_the_part_that_was_wanted_is_kept() -> None:
    with XPeel() as peeler:
        async with lt.serial(peeler.port, 9600, framing="\r\n") as link:
            async with link.exchange(timeout=30) as talk:
                await talk.send("*moveout")
                await peeler.until_heard(1)
                peeler.finish()
                assert await talk.receive(match=r"^\*ready") == "*ready:00,00,00"
                assert talk.skipped == ["*ack"]


@pytest.mark.parametrize("until", ["^(OK|ERROR|ABORTED)!", 4, lambda line: line.startswith("OK!")])
async def test_row_7_microspin_all_lines_of_an_answer_to_its_end(until: object) -> None:
    with MicroSpin() as centrifuge:
        async with lt.tcp(centrifuge.host, centrifuge.port, framing="\r\n") as link:
            for number in (1, 2, 3):
                lines = await link.query_all("status", until=until)  # type: ignore[arg-type]
                assert lines == [
                    f"ACK! status {number}",
                    "Spindle Position: 1958",
                    "Door Position: 19242",
                    f"OK! status {number}",
                ]


async def test_row_7_microspin_an_error_ends_the_answer_and_is_raised() -> None:
    with MicroSpin() as centrifuge:
        error = r"^ERROR! (?P<text>.*) (?P<code>\d+)$"
        async with lt.tcp(centrifuge.host, centrifuge.port, framing="\r\n", error=error) as link:
            with pytest.raises(lt.InstrumentError) as caught:
                await link.query_all("bogus", until="^(OK|ABORTED)!")
            assert (caught.value.code, caught.value.text, caught.value.reply) == ("1", "bogus", "ERROR! bogus 1")
            assert await link.query_all("home", until="^OK!") == ["ACK! home 2", "OK! home 2"]


async def test_row_7_genogrinder_a_progress_line_and_a_completion_line() -> None:
    with GenoGrinder() as grinder:
        async with lt.serial(grinder.port, 9600, framing="\r") as link:
            parts: list[str] = []
            async with link.exchange(timeout=60) as talk:
                await talk.send("*03*")
                async for part in talk:
                    parts.append(part)
                    if part == "Initializing":
                        grinder.finish(b"Initialize Complete")
                    else:
                        break
            assert parts == ["Initializing", "Initialize Complete"]
            assert await link.query("*01*") == "Standby"


async def test_row_7_el406_ack_at_once_and_a_frame_when_it_is_done() -> None:
    with EL406() as washer:
        async with (
            lt.serial(washer.port, 38400, stopbits=2, framing=El406Frames()) as link,
            lt.open_nursery() as nursery,
        ):

            async def act(command: bytes) -> bytes:
                async with link.exchange(timeout=120) as talk:
                    await talk.send(command)
                    assert await talk.receive(timeout=15) == b"\x06"
                    frame: bytes = await talk.receive()
                    return frame

            for action in EL406.ACTIONS:
                command = bytes([action, 0])
                done = nursery.start_soon(act, command)
                await washer.until(lambda: washer.acting == action, "the action")  # noqa: B023
                assert not done.done
                washer.finish()
                assert await done == command + b"\0"


async def test_row_7_el406_ack_and_frame_as_raw_bytes_of_one_exchange() -> None:
    with EL406() as washer:
        async with lt.serial(washer.port, 38400, stopbits=2, framing=None) as link:
            async with link.exchange(timeout=30) as talk:
                await talk.write(el406_frame(EL406.QUERY))
                assert await talk.read(1, timeout=15) == b"\x06"
                header = await talk.read(11)
                length = int.from_bytes(header[7:9], "little")
                assert header + await talk.read(length) == el406_frame(EL406.QUERY, washer.serial)


# -- row 9 -------------------------------------------------------------------------------------------------------------

A4S_LINES = lt.Lines("!\r", send_terminator="!")


async def test_row_9_a4s_its_status_stream_and_its_answers_do_not_meet() -> None:
    with A4S() as sealer:
        async with lt.serial(sealer.port, 19200, framing=A4S_LINES, unsolicited=r"^\*T") as link:
            async with link.messages(r"^\*T") as stream:
                for _ in range(20):
                    sealer.tick()
                    assert await link.query("*00GS=zz") == "*Y01GS"
                    sealer.tick()
                    assert await link.query("*00??=zz") == "*N01??"
                # Two ticks in each round, and a line before and after each answer; not one was lost.
                lines = [await anext(stream) for _ in range(20 * (2 + 4))]
                assert all(line.startswith("*T00=250,") for line in lines)
                assert stream.dropped == 0


async def test_row_9_a4s_an_error_is_heard_of_when_it_happens() -> None:
    # Today's driver sees it when it asks the next time.
    with A4S() as sealer:
        async with lt.serial(sealer.port, 19200, framing=A4S_LINES, unsolicited=r"^\*T") as link:
            async with link.messages(r"^\*T00=\d+,3,") as errors, lt.open_nursery() as nursery:
                first = nursery.start_soon(lambda: anext(errors))
                assert await link.query("*00GS=zz") == "*Y01GS"
                sealer.become(A4S.ERROR, 12)
                assert await first == "*T00=250,3,1,12,0,2,30zz"


async def test_row_9_a4s_until_it_is_done() -> None:
    with A4S() as sealer:
        async with lt.serial(sealer.port, 19200, framing=A4S_LINES, unsolicited=r"^\*T") as link:
            async with link.messages(r"^\*T") as stream:
                await link.query("*00GS=zz")
                sealer.become(A4S.FINISH)
                states = []
                async for line in stream:
                    states.append(int(line.split(",")[1]))
                    if states[-1] == A4S.FINISH:
                        break
            assert states == [A4S.IDLE, A4S.SINGLE_CYCLE, A4S.FINISH]


async def test_row_9_keyence_barcodes_nobody_asked_for_reach_every_listener_once() -> None:
    with Keyence() as reader:
        async with lt.serial(reader.port, 9600, framing="\r") as link:
            reader.press(b"early")
            assert await link.receive() == "early"
            async with link.messages() as first, link.messages("^B") as second:
                for code in (b"A1", b"B2", b"A3", b"B4"):
                    reader.press(code)
                assert [await anext(first) for _ in range(4)] == ["A1", "B2", "A3", "B4"]
                assert [await anext(second) for _ in range(2)] == ["B2", "B4"]
                assert await link.query("LON") == "ABC-0001"


# -- row 10 ------------------------------------------------------------------------------------------------------------


def star(device: Star, drain: float = 1.0) -> lt.Link[str]:
    """A link to it: what tells a command's reply is the id, wherever it stands."""
    match = lt.ById(command=r"id(\d{4})", reply=r"id(\d{4})")
    return lt.serial(device.port, framing="\r\n", match=match, drain=drain)


async def test_row_10_star_many_commands_in_flight_and_answers_in_any_order() -> None:
    with Star() as robot:
        async with star(robot) as link, lt.open_nursery() as nursery:
            asked = {n: nursery.start_soon(link.query, f"C0ASid{n:04}tip{n}") for n in range(1, 8)}
            await robot.until(lambda: len(robot.open) == 7, "all of them are in flight")
            robot.answer_to(4, 2, 7)
            assert await asked[2] == "C0ASid0002er00/00tip2"
            # One that is asked while others wait is answered before them.
            assert await link.query("C0RFid0100") == "C0RFid0100er00/00"
            assert not asked[1].done
            robot.answer_to(6, 5, 3, 1)
            assert {n: await handle for n, handle in asked.items()} == {
                n: f"C0ASid{n:04}er00/00tip{n}" for n in range(1, 8)
            }


async def test_row_10_star_a_reply_that_is_late_or_not_wanted_any_more_reaches_nobody() -> None:
    with Star() as robot:
        async with star(robot, drain=60) as link, lt.open_nursery() as nursery:
            with pytest.raises(lt.LinkTimeout):
                await link.query("C0ASid0001a", timeout=0.02)
            left = nursery.start_soon(link.query, "C0ASid0002b")
            await robot.until(lambda: len(robot.open) == 2, "both")
            left.cancel()
            outcome = await left.outcome()
            assert isinstance(outcome, lt.Cancelled)
            assert outcome.effect == "unconfirmed"
            # With ids there is no debt: nothing has to be waited for.
            kept = nursery.start_soon(link.query, "C0ASid0003c")
            await robot.until(lambda: len(robot.open) == 3, "the next is on its way")
            robot.answer_to(1, 2, 3)
            assert await kept == "C0ASid0003er00/00c"
            assert await link.query("C0RFid0004") == "C0RFid0004er00/00"


async def test_row_10_star_an_id_that_is_in_flight_cannot_be_used_again_until_it_is_answered() -> None:
    with Star() as robot:
        async with star(robot) as link, lt.open_nursery() as nursery:
            first = nursery.start_soon(link.query, "C0ASid0001a")
            await robot.until(lambda: len(robot.open) == 1, "the first")
            with pytest.raises(ValueError, match="0001"):
                await link.query("C0ASid0001b")
            with pytest.raises(ValueError):
                await link.query("C0AS without an id")
            robot.answer_to(1)
            assert await first == "C0ASid0001er00/00a"
            assert await link.query("C0RFid0001") == "C0RFid0001er00/00"


async def test_row_10_star_one_answer_may_be_slow_and_the_others_not_wait_for_it() -> None:
    # Today a single 30 s read decides when anybody's deadline is looked at.
    with Star() as robot:
        async with star(robot) as link, lt.open_nursery() as nursery:
            slow = nursery.start_soon(lambda: link.query("C0ASid9999slow", timeout=60))
            await robot.until(lambda: len(robot.open) == 1, "the slow one")
            for n in range(200):
                assert await link.query(f"C0QMid{n:04}") == f"C0QMid{n:04}er00/00"
            assert not slow.done
            robot.answer_to(9999)
            assert await slow == "C0ASid9999er00/00slow"
