"""What a link does, over real pseudo-terminals and sockets: queries, exchanges, messages, raw bytes, polls. On
asyncio, uvloop and trio."""

from __future__ import annotations

import math

import anyio
import pytest

import labtether as lt
from support import PtyInstrument, Reply, TcpInstrument, replies


def numbered(command: bytes) -> Reply:
    """Answers `ASK 7` with `7`; `SLOW 7` with `7`, late; `TWICE 7` with two lines; anything else not at all."""
    word, _, number = command.partition(b" ")
    match word:
        case b"ASK":
            return number + b"\r\n"
        case b"SLOW":
            return [(0.3, number + b"\r\n")]
        case b"TWICE":
            return b"ACK\r\n" + number + b"\r\n"
    return None


async def test_a_query_gets_its_reply_over_a_pseudo_terminal() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, 115200, framing="\r\n") as link:
            assert await link.query("ASK 7") == "7"
            assert await link.query("ASK 2.5 g", parse=lt.number) == 2.5
        assert instrument.heard == [b"ASK 7", b"ASK 2.5 g"]


async def test_a_query_gets_its_reply_over_tcp() -> None:
    with TcpInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.tcp(instrument.host, instrument.port, framing="\r\n") as link:
            assert [await link.query(f"ASK {n}") for n in range(20)] == [str(n) for n in range(20)]


async def test_queries_asked_at_once_each_get_their_own_reply() -> None:
    got: dict[int, str] = {}

    async def ask(link: lt.Link[str], n: int) -> None:
        got[n] = await link.query(f"ASK {n}")

    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link, anyio.create_task_group() as group:
            for n in range(50):
                group.start_soon(ask, link, n)
    assert got == {n: str(n) for n in range(50)}


async def test_a_query_that_waits_for_no_time_is_asked_all_the_same() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            with pytest.raises(lt.LinkTimeout, match="nothing was heard"):
                await link.query("SLOW 1", timeout=0)
            assert await link.query("ASK 2") == "2"
        assert instrument.heard == [b"SLOW 1", b"ASK 2"]


async def test_in_an_exchange_too_a_query_never_gets_the_late_reply_of_another() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link, link.exchange(timeout=30) as talk:
            with pytest.raises(lt.LinkTimeout):
                await talk.query("SLOW 1", timeout=0.05)
            assert await talk.query("ASK 2") == "2"
            assert await talk.query("ASK 3") == "3"


async def test_in_an_exchange_a_query_never_gets_what_a_read_that_was_given_up_was_owed() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link, link.exchange(timeout=30) as talk:
            await talk.send("SLOW 1")
            with anyio.move_on_after(0.05):
                await talk.read_until("\n")
            assert await talk.query("ASK 2") == "2"
            await talk.send("SLOW 3")
            with pytest.raises(lt.LinkTimeout):
                await talk.read(3, timeout=0.05)
            assert await talk.query("ASK 4") == "4"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "cp1252"])
async def test_patterns_are_searched_in_the_text_of_the_link(encoding: str) -> None:
    framing = lt.Lines("\n", encoding=encoding)
    with PtyInstrument(lambda _command: "mA\nµA\n".encode(encoding)) as instrument:
        async with lt.serial(instrument.port, framing=framing) as link, link.exchange() as talk:
            await talk.send("unit?")
            assert await talk.receive(match="^[µn]A$") == "µA"
            assert talk.skipped == ["mA"]


async def test_a_reply_that_is_no_number_is_shown_with_all_that_is_known() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n", name="scale") as link:
            with pytest.raises(lt.FrameError, match="scale sent something unreadable in answer to 'ASK x'") as caught:
                await link.query("ASK x", parse=lt.number)
    error = caught.value
    assert (error.link, error.port, error.command, error.heard) == ("scale", instrument.port, "ASK x", b"x")
    assert error.elapsed is not None
    assert 0 < error.elapsed < 5
    assert isinstance(error.__cause__, ValueError)
    assert "> 'ASK x" in error.__notes__[0]
    assert "< 'x" in error.__notes__[0]


async def test_after_a_timeout_the_next_query_gets_its_own_reply() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            with pytest.raises(lt.LinkTimeout) as caught:
                await link.query("SLOW 1", timeout=0.05)
            assert await link.query("ASK 2") == "2"
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.link, error.command, error.heard, error.effect) == (link.name, "SLOW 1", b"", "unconfirmed")
    assert error.elapsed is not None
    assert error.elapsed >= 0.05
    assert "SLOW 1" in "".join(error.__notes__)


async def test_bytes_links_speak_bytes() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing=b"\r\n") as link:
            assert await link.query(b"ASK \xff\x00") == b"\xff\x00"
            with pytest.raises(TypeError, match="bytes"):
                await link.query("ASK 1")


async def test_no_byte_is_lost_in_text() -> None:
    every = bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"")
    with PtyInstrument(lambda command: every + b"\n", terminator=b"\n") as instrument:
        async with lt.serial(instrument.port) as link:
            assert (await link.query("ALL")).encode("latin-1") == every


async def test_a_replys_own_framing_holds_for_that_reply_only() -> None:
    with PtyInstrument(replies({b"P": b"one;two\n", b"Q": b"three\n"}), terminator=b"\n") as instrument:
        async with lt.serial(instrument.port) as link:
            assert await link.query("P", framing=";") == "one"
            assert await link.receive() == "two"
            assert await link.query("Q") == "three"


async def test_an_exchange_of_several_messages() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            async with link.exchange(timeout=2) as talk:
                await talk.send("TWICE 5")
                assert await talk.receive(match="^5$") == "5"
                assert talk.skipped == ["ACK"]
                await talk.send("ASK 12345")
                assert await talk.read(3) == b"123"
                assert await talk.read_until("\n") == b"45\r\n"
                assert await talk.query("ASK 6", parse=lt.number) == 6
                with pytest.raises(RuntimeError, match=r"talk\.query"):
                    await link.query("ASK 8")
            assert await link.query("ASK 9") == "9"
            with pytest.raises(lt.LinkClosed, match="over"):
                await talk.send("ASK 1")


async def test_others_wait_for_an_exchange_and_are_told_who_has_the_line() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link, link.exchange():

            async def ask() -> None:
                with pytest.raises(lt.LinkBusy, match=r"the exchange begun at .*test_link\.py:\d+ has had the line"):
                    await link.query("ASK 1", turn=0.05)
                with pytest.raises(lt.LinkBusy):
                    await link.query("ASK 1", turn=0)

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
        assert instrument.heard == []


async def test_messages_nobody_asked_for() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            async with link.messages() as everything, link.messages("^ALARM") as alarms:
                instrument.send(b"DOOR open\r\nALARM 3\r\n")
                assert [await anext(everything), await anext(everything)] == ["DOOR open", "ALARM 3"]
                assert await anext(alarms) == "ALARM 3"
                assert await link.query("ASK 1") == "1"
            instrument.send(b"DOOR shut\r\nALARM 4\r\n")
            assert await link.receive(match="^ALARM") == "ALARM 4"
            assert await link.receive(match=lambda message: message.startswith("DOOR")) == "DOOR shut"
            with pytest.raises(lt.LinkTimeout):
                await link.receive(timeout=0.02)


async def test_a_poll_gives_readings_and_ends_with_its_count() -> None:
    with PtyInstrument(lambda command: b"1.5 g\n", terminator=b"\n") as instrument:
        async with lt.serial(instrument.port) as link:
            async with link.poll("SI", every=0.01, count=5, parse=lt.number) as readings:
                values = [reading async for reading in readings]
            assert [reading.value for reading in values] == [1.5] * 5
            times = [reading.time for reading in values]
            assert times == sorted(times)
            async for reading in link.poll("SI", every=0):
                assert reading.value == "1.5 g"
                break


async def test_a_poll_raises_what_a_query_raises() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            with pytest.raises(lt.LinkTimeout):
                async for _reading in link.poll("MUTE", every=0.01, timeout=0.02):
                    pytest.fail("there was nothing to read")


async def test_raw_bytes() -> None:
    with PtyInstrument(replies({b"GO": b"abc>def"}), terminator=b"\n") as instrument:
        async with lt.serial(instrument.port, framing=None) as link:
            await link.write(b"GO\n")
            assert await link.read_until(b">") == b"abc>"
            assert await link.read(2) == b"de"
            assert await link.read_some(10) == b"f"
            with pytest.raises(lt.LinkTimeout):
                await link.read(1, timeout=0.02)
            await link.write(b"GO\n")
            instrument.wait_heard(2)
            assert await link.read(1) == b"a"
            await link.discard_input()
            with pytest.raises(lt.LinkTimeout):
                await link.read(1, timeout=0.02)
            assert await link.query(b"GO\n", framing=b">") == b"abc"
            with pytest.raises(ValueError, match="framing="):
                await link.query(b"GO\n")


async def test_raw_is_sent_as_it_is_and_the_rest_is_framed() -> None:
    with PtyInstrument(terminator=b"\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            await link.send(lt.Raw(b"\x1b"))
            await link.send("A")
            await link.send(b"B", urgent=True)
            instrument.wait_received(7)
        assert instrument.received == b"\x1bA\r\nB\r\n"


async def test_a_parse_that_fails_is_a_frame_error_with_the_reply() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            with pytest.raises(lt.FrameError) as caught:
                await link.query("ASK nothing", parse=lt.number)
    assert (caught.value.heard, caught.value.command) == (b"nothing", "ASK nothing")
    assert isinstance(caught.value, ValueError)


async def test_no_limit_is_a_limit_too() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n", timeout=math.inf) as link:
            assert await link.query("SLOW 4") == "4"


async def test_the_trace_tells_what_happened() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        async with lt.serial(instrument.port, framing="\r\n") as link:
            await link.query("ASK 7")
            events = link.trace()
            assert b"".join(event.data for event in events if event.direction == ">") == b"ASK 7\r\n"
            assert b"".join(event.data for event in events if event.direction == "<") == b"7\r\n"
            assert [event.time for event in events] == sorted(event.time for event in events)
            await link.query("ASK 8")
            assert "open, 2 exchanges, last" in repr(link)


def test_the_blocking_face_has_the_same_methods() -> None:
    with PtyInstrument(numbered, terminator=b"\r\n") as instrument:
        with lt.serial(instrument.port, framing="\r\n").sync as link:
            assert link.query("ASK 7") == "7"
            assert link.query("ASK 7", parse=lt.number) == 7
            with link.exchange() as talk:
                assert talk.query("TWICE 3") == "ACK"
                assert talk.receive() == "3"
            assert [reading.value for reading in link.poll("ASK 1", every=0, count=3)] == ["1", "1", "1"]
            with link.messages() as heard:
                instrument.send(b"HELLO\r\n")
                assert next(heard) == "HELLO"
            link.send("ASK 5")
            assert link.receive() == "5"
            with pytest.raises(lt.LinkTimeout):
                link.query("MUTE", timeout=0.02)
        assert link.state == "closed"


async def test_the_blocking_face_works_inside_a_loop() -> None:
    async with lt.link("sim://balance") as scale:
        assert scale.sync.query("I4") == await scale.query("I4")
