"""Rows 8 and 21 of pylabrobot.md 2.1: checksums, and every byte kept in order for a replay."""

import pytest

import labtether as lt
from support import PtyInstrument
from support.devices import EL406, HT2000, Agrow, BioTek, El406Frames, Inheco, crc8, ht2000_frame, modbus_crc
from support.devices.base import NEVER

# -- row 8 -------------------------------------------------------------------------------------------------------------

READ = b"\x01\x03\0\x13\0\x01"


async def test_row_8_agrow_modbus_crc_both_ways() -> None:
    with Agrow() as pump:
        async with lt.serial(pump.port, 115200, framing=lt.ModbusRtu()) as link:
            assert await link.query(READ) == b"\x01\x03\x02\x5c\x5c"
            for speed in range(0, 0x10000, 0x0555):
                write = b"\x01\x06\0\x65" + speed.to_bytes(2, "big")
                assert await link.query(write) == write
            assert await link.query(b"\x01\x03\x09\x99\0\x01") == b"\x01\x83\x02", "an exception: no such register"
        assert pump.wrong == 0


async def test_row_8_agrow_a_damaged_reply_is_an_error_with_both_values_and_not_the_end() -> None:
    with Agrow() as pump:
        pump.garbles = 1
        async with lt.serial(pump.port, 115200, framing=lt.ModbusRtu()) as link:
            with pytest.raises(lt.FrameError) as caught:
                await link.query(READ)
            right = int.from_bytes(modbus_crc(b"\x01\x03\x02\x5c\x5c"), "little")
            assert f"{right:04X}" in str(caught.value)
            assert f"{right ^ 0xFFFF:04X}" in str(caught.value)
            for _ in range(3):
                assert await link.query(READ) == b"\x01\x03\x02\x5c\x5c"


INHECO_TAILS = [bytes([0xB2, 0x20 + error, 0x60]) for error in range(16)]


def inheco(device: Inheco) -> lt.Link[bytes]:
    """Commands: a length that counts the CRC too. Replies: up to one of the tails."""
    checksum = lt.Checksum(crc8, 1, covers="with_start")
    framing = lt.LengthPrefixed(1, adjust=-1, checksum=checksum)
    return lt.serial(device.port, 19200, framing=framing, error=rb"\xb2(?P<code>[\x21-\x2f])\x60$")


INHECO_REPLY = lt.Lines(INHECO_TAILS, keep=True, encoding=None)


def inheco_text(reply: bytes) -> bytes:
    """The blocks of a reply, without the byte that begins each."""
    return reply[:-3].replace(b"\xb2", b"")


async def test_row_8_inheco_a_crc_of_ones_own_over_the_length_too() -> None:
    with Inheco() as incubator:
        async with inheco(incubator) as link:
            for name, text in incubator.texts.items():
                command = b"2" + bytes([0xC0 + 3 + len(name)]) + b"T00" + name.encode()
                assert await link.query(command, framing=INHECO_REPLY, parse=inheco_text) == text
        assert incubator.wrong == []


async def test_row_8_inheco_no_byte_is_special_not_even_a_backslash() -> None:
    # Today each 0x5C in a reply is lost or ends in a UnicodeDecodeError, after the bytes are gone.
    with Inheco() as incubator:
        incubator.texts["RFV0"] = bytes(set(range(256)) - {0xB2, 0x60}) + b"\\\\"
        async with inheco(incubator) as link:
            command = b"2\xc7T00RFV0"
            for _ in range(5):
                reply = await link.query(command, framing=INHECO_REPLY, parse=inheco_text)
                assert reply == incubator.texts["RFV0"]


async def test_row_8_inheco_an_error_in_the_tail() -> None:
    with Inheco() as incubator:
        async with inheco(incubator) as link:
            with pytest.raises(lt.InstrumentError) as caught:
                await link.query(b"2\xc7T00ASE1", framing=INHECO_REPLY)
            assert caught.value.reply == b"\xb2\xb2\x28\x60"
            assert await link.query(b"2\xc6T00RTS", framing=INHECO_REPLY, parse=inheco_text) == b"2"


class Ht2000Commands:
    """What an HT2000 hears: six bytes, a length, the payload, the sum of both in two bytes, 0xFF."""

    def encode(self, body: bytes) -> bytes:
        """The whole frame."""
        return ht2000_frame(body)

    def take(self, buffer: bytearray) -> bytes | None:
        """All replies that have no length of their own are short."""
        if len(buffer) < 11:
            return None
        reply = bytes(buffer[:11])
        del buffer[:11]
        return reply


async def test_row_8_ht2000_a_sum_of_sixteen_bits_in_a_frame_of_ones_own() -> None:
    with HT2000() as washer:
        async with lt.serial(washer.port, 115200, framing=Ht2000Commands()) as link:
            for _ in range(3):
                assert (await link.query(b"211"))[7:8] == b"0"
            assert (await link.query(b"4", framing=lt.Fixed(42)))[12:13] == b"1"
        assert washer.wrong == 0


async def test_row_8_biotek_a_decimal_sum_modulo_a_hundred() -> None:
    def modulo_100(digits: bytes) -> bytes:
        return b"%02d" % (sum(digits) % 100)

    parameter = lt.Lines("\x03", checksum=lt.Checksum(modulo_100, 2))
    with BioTek() as reader:
        async with lt.serial(reader.port, 9600, stopbits=2, framing=lt.Lines("\x03", send_terminator="")) as link:
            for digits in (b"0047010101", b"00470108120001", b"9999999999"):
                async with link.exchange(timeout=30) as talk:
                    assert await talk.query("D", framing=lt.Lines("\x06", send_terminator="")) == ""
                    await talk.write(parameter.encode(digits))
                    assert await talk.receive() == "\x060000"
        assert reader.wrong == []


async def test_row_8_el406_a_damaged_frame_is_an_error_and_not_the_end() -> None:
    with EL406() as washer:
        async with lt.serial(washer.port, 38400, stopbits=2, framing=El406Frames()) as link:
            answer = washer.handler
            washer.handler = lambda _frame: b"\x01\x02\x73\0\x01\0\0\0\0\x12\x34"
            with pytest.raises(lt.FrameError, match="checksum"):
                await link.query(b"\x73\0")
            washer.handler = answer
            async with link.exchange(timeout=30) as talk:
                assert await talk.query(b"\x73\0") == b"\x06"
                assert await talk.receive() == b"\x73\0"


# -- row 21 ------------------------------------------------------------------------------------------------------------


async def dialogue(link: lt.Link[bytes]) -> list[bytes]:
    """What a driver does with an incubator."""
    names = ("RTS", "RFV0", "RAT1", "AID")
    commands = [b"2" + bytes([0xC3 + len(name)]) + b"T00" + name.encode() for name in names]
    return [await link.query(command, framing=INHECO_REPLY, parse=inheco_text) for command in commands]


async def test_row_21_inheco_the_trace_has_every_byte_in_order_and_in_both_directions() -> None:
    # Today's capture decodes each chunk with unicode_escape, and loses what it cannot read.
    with Inheco() as incubator:
        async with inheco(incubator) as link:
            assert await dialogue(link) == list(incubator.texts.values())
            events = link.trace()
    said = b"".join(event.data for event in events if event.direction == ">")
    came = b"".join(event.data for event in events if event.direction == "<")
    assert said == bytes(incubator.received)
    assert came.count(b"\xb2\x20\x60") == 4
    assert b"\\V1." in came
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert [event.monotonic for event in events] == sorted(event.monotonic for event in events)


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_row_21_inheco_a_replay_of_the_byte_stream_whatever_the_pieces(size: int) -> None:
    """Records a dialogue, and plays it back to the same driver with other cuts."""
    with Inheco() as incubator:
        async with inheco(incubator) as link:
            expected = await dialogue(link)
            steps: list[tuple[bytes, bytes]] = []
            for event in link.trace():
                if event.direction == ">" and (not steps or steps[-1][1]):
                    steps.append((event.data, b""))
                elif event.direction == ">":
                    steps[-1] = (steps[-1][0] + event.data, b"")
                elif event.direction == "<":
                    steps[-1] = (steps[-1][0], steps[-1][1] + event.data)

    class Replay(PtyInstrument):
        """Answers what it was asked then with what was answered then."""

        def _read(self) -> None:
            super()._read()
            while steps and len(self._unread) >= len(steps[0][0]):
                asked, answered = steps.pop(0)
                assert self._unread[: len(asked)] == asked
                del self._unread[: len(asked)]
                for start in range(0, len(answered), size):
                    self.send(answered[start : start + size])

    with Replay(terminator=NEVER) as replay:
        async with lt.serial(
            replay.port,
            framing=lt.LengthPrefixed(1, adjust=-1, checksum=lt.Checksum(crc8, 1, covers="with_start")),
        ) as link:
            assert await dialogue(link) == expected
        assert steps == []
