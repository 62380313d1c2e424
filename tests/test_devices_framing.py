"""Rows 4, 12 and 19 of pylabrobot.md 2.1: where a message ends: delimiters, length prefixes, fixed lengths."""

import pytest

import labtether as lt
from support.devices import (
    EL406,
    HT2000,
    Balance,
    BenchCel,
    BioTek,
    Cytomat,
    El406Frames,
    Masterflex,
    SpectraMax,
    el406_frame,
    ht2000_frame,
)

ETX = lt.Lines("\x03", send_terminator="")
DATA = "01,01, 0.123\r\n,01,02, 0.456\r\n"


def stripped(reply: str) -> str:
    """For `parse=`."""
    return reply.strip()


async def test_row_4_biotek_replies_that_end_in_etx_whatever_else_is_in_them() -> None:
    with BioTek() as reader:
        async with lt.serial(reader.port, 9600, stopbits=2, framing=ETX) as link, lt.open_nursery() as nursery:
            assert await link.query("e", parse=lambda reply: reply[1:].split()[3]) == "2.09"
            assert await link.query("h", parse=lambda reply: int(reply[1:]) / 100_000) == 23.5
            async with link.exchange(timeout=60) as talk:
                assert await talk.query("O") == "\x060000"
                data = nursery.start_soon(talk.receive)
                reader.finish()
                assert await data == DATA


async def test_row_4_biotek_ack_first_and_then_a_parameter() -> None:
    # Two ends in one exchange: ACK after the letter, ETX after the parameter.
    with BioTek() as reader:
        async with lt.serial(reader.port, 9600, stopbits=2, framing=ETX) as link:
            async with link.exchange(timeout=30) as talk:
                assert await talk.query("y", framing=lt.Lines("\x06", send_terminator="")) == ""
                assert await talk.query(lt.Raw(b"0812007440\x03")) == "\x060000"
            assert await link.query("h") == "\x062350000"
        assert reader.heard == [b"y", b"0812007440\x03", b"h"]


async def test_row_4_spectramax_prompts_are_counted_for_each_command() -> None:
    with SpectraMax() as reader:
        once, twice, three = (lt.Lines(">\r\n", send_terminator="\r", count=count) for count in (1, 2, 3))
        async with lt.serial(reader.port, 9600, framing=once) as link:
            assert await link.query("!NVRAM DPMIN 85") == "OK\t0"
            assert await link.query("!STATUS", framing=twice) == "OK\t0>\r\nIDLE"
            assert await link.query("!READ") == "OK\t0"
            assert await link.query("!STATUS", framing=twice) == "OK\t0>\r\nBUSY"
            assert await link.query("!TRANSFER", framing=three, parse=lt.numbers) == [1.0, 2.0, 3.0, 4.0]
            assert await link.query("!MODE ENDPOINT") == "OK\t0"


async def test_row_4_spectramax_line_ends_after_a_prompt_do_not_hide_the_next_reply() -> None:
    # With ">" alone, CR LF stays behind each reply and stands before the next.
    with SpectraMax() as reader:
        once, twice = (lt.Lines(">", send_terminator="\r", count=count) for count in (1, 2))
        async with lt.serial(reader.port, 9600, framing=once) as link:
            for _ in range(5):
                assert await link.query("!CLEAR DATA", parse=stripped) == "OK\t0"
                assert await link.query("!STATUS", framing=twice, parse=stripped) == "OK\t0>\r\nIDLE"


@pytest.mark.parametrize("ends", [b"\r", b"\r\n"], ids=["CR", "CRLF"])
async def test_row_4_cytomat_replies_that_end_in_cr_or_in_cr_lf(ends: bytes) -> None:
    # Today each command costs the full second of a read(128): 1003 ms where the reply was there after 1.3 ms.
    with Cytomat(ends) as store:
        framing = lt.Lines("\r", send_terminator="\r\n")
        async with lt.serial(store.port, 9600, framing=framing) as link:
            for _ in range(20):
                assert await link.query("ch:bs", parse=stripped) == "bs 00"
                assert await link.query("ll:gp 002", parse=stripped) == "ok 02"
        assert store.gate_open


async def test_row_4_mettler_a_message_without_end_is_an_error_and_not_the_end_of_the_link() -> None:
    with Balance() as balance:
        framing = lt.Lines("\r\n", max_length=1000)
        async with lt.serial(balance.port, 9600, framing=framing) as link:
            with pytest.raises(lt.FrameError) as caught:
                await link.query("LONG")
            assert caught.value.heard.startswith(b"xxx")
            for _ in range(3):
                assert await link.query("I4") == 'I4 A "B021002593"'


# -- row 12 ------------------------------------------------------------------------------------------------------------


async def test_row_12_benchcel_id_length_and_payload_whatever_bytes_are_in_it() -> None:
    with BenchCel() as stacker:
        framing = lt.LengthPrefixed(2, "little", offset=1)
        async with lt.tcp(stacker.host, stacker.port, framing=framing) as link:
            status = await link.query(bytes([BenchCel.STATUS]))
            assert status == bytes([BenchCel.STATUS, 0, 0x5C, 0x69, 0x02, *bytes(62)])
            assert await link.query(bytes([BenchCel.LOAD, 1, 2])) == bytes([BenchCel.ACK, BenchCel.LOAD, 2])
        assert stacker.heard == [b"\x87\0\0", b"\x60\x02\0\x01\x02"]


async def test_row_12_benchcel_an_error_frame_is_an_instrument_error() -> None:
    with BenchCel() as stacker:
        framing = lt.LengthPrefixed(2, "little", offset=1)
        async with lt.tcp(stacker.host, stacker.port, framing=framing, error=rb"(?s)^\x02(?P<text>.*)") as link:
            with pytest.raises(lt.InstrumentError, match="Unknown command 0x33") as caught:
                await link.query(b"\x33")
            assert caught.value.text in ("Unknown command 0x33", b"Unknown command 0x33")
            assert caught.value.reply == b"\x02Unknown command 0x33"
            assert await link.query(bytes([BenchCel.LOAD, 1, 0])) == bytes([BenchCel.ACK, BenchCel.LOAD, 0])


async def test_row_12_el406_a_header_of_eleven_bytes_with_the_length_inside() -> None:
    with EL406() as washer:
        async with lt.serial(washer.port, 38400, stopbits=2, framing=El406Frames()) as link:
            for _ in range(3):
                async with link.exchange(timeout=30) as talk:
                    assert await talk.query(b"\xc1\0") == b"\x06"
                    assert await talk.receive() == b"\xc1\0" + washer.serial
            assert await link.query(b"\xff\0") == b"\x15"


async def test_row_12_el406_without_a_framing_of_ones_own_the_length_is_still_found() -> None:
    # Seven bytes, the length of the data, two bytes of checksum that it does not count, the data.
    with EL406() as washer:
        framing = lt.LengthPrefixed(2, "little", offset=7, adjust=2)
        async with lt.serial(washer.port, 38400, stopbits=2, framing=framing) as link:
            async with link.exchange(timeout=30) as talk:
                await talk.write(el406_frame(EL406.QUERY))
                assert await talk.read(1) == b"\x06"
                frame = el406_frame(EL406.QUERY, washer.serial)
                assert await talk.receive() == frame[:7] + frame[9:]


# -- row 19 ------------------------------------------------------------------------------------------------------------


async def test_row_19_ht2000_replies_of_the_length_that_belongs_to_the_command() -> None:
    ping, report, tray = (lt.Raw(ht2000_frame(payload)) for payload in (b"0", b"4", b"211"))
    with HT2000() as washer:
        framing = lt.Fixed({ping.data: 15, report.data: 42, tray.data: 11})
        async with lt.serial(washer.port, 115200, framing=framing) as link:
            for out in (True, False, True):
                assert len(await link.query(ping)) == 15
                assert len(await link.query(tray)) == 11
                assert (await link.query(report))[12:13] == (b"1" if out else b"0")
        assert washer.wrong == 0


async def test_row_19_ht2000_a_function_says_the_length() -> None:
    def size(command: bytes) -> int:
        return {b"0": 15, b"4": 42}.get(command[7:-3], 11)

    with HT2000() as washer:
        async with lt.serial(washer.port, 115200, framing=lt.Fixed(size)) as link:
            assert len(await link.query(ht2000_frame(b"0"))) == 15
            assert len(await link.query(ht2000_frame(b"4"))) == 42
            assert len(await link.query(ht2000_frame(b"211"))) == 11
        assert washer.tray_out


async def test_row_19_masterflex_one_byte_is_the_reply_and_none_is_left_for_the_next() -> None:
    with Masterflex() as pump:
        async with lt.serial(pump.port, 4800, framing=lt.Enclosed(b"\x02", b"\r")) as link:
            for _ in range(5):
                assert await link.query(b"P02S+100G0", framing=lt.Fixed(1)) == b"\x06"
                assert await link.query(b"P02?", framing=lt.Fixed(1)) == b"\x15"
                assert await link.query(b"P02I") == b"P02I1"
