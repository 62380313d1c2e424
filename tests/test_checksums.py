"""Checksums as values: bad input, reprs, pickling, the catalogue, and functions of one's own."""

import copy
import pickle
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import labtether as lt


def xor(covered: bytes) -> int:
    """All bytes, exclusive or."""
    value = 0
    for byte in covered:
        value ^= byte
    return value


@pytest.mark.parametrize(
    ("checksum", "shown", "width"),
    [
        (lt.Crc("CRC-16/MODBUS"), "Crc('CRC-16/MODBUS')", 2),
        (lt.Crc("crc-5/usb", encode="decimal"), "Crc('CRC-5/USB', encode='decimal')", 2),
        (lt.Crc("CRC-82/DARC", "big"), "Crc('CRC-82/DARC', order='big')", 11),
        (lt.Sum8(encode="decimal"), "Sum8(encode='decimal')", 3),
        (lt.Sum16(encode="hex", place="after_end"), "Sum16(encode='hex', place='after_end')", 4),
        (lt.Xor8(covers="with_both"), "Xor8(covers='with_both')", 1),
        (lt.Checksum(xor, size=1), "Checksum(xor, size=1)", 1),
        (lt.Checksum(zlib.crc32, 4, "little"), "Checksum(crc32, size=4, order='little')", 4),
    ],
)
def test_a_checksum_shows_how_it_was_made_and_can_be_sent_to_another_process(
    checksum: Any, shown: str, width: int
) -> None:
    assert repr(checksum) == shown
    assert checksum.width == width
    for other in (pickle.loads(pickle.dumps(checksum)), copy.deepcopy(checksum)):
        assert other == checksum
        assert hash(other) == hash(checksum)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: lt.Crc("CRC-16/MODBUZ"), ValueError, "did you mean CRC-16/MODBUS"),
        (lambda: lt.Crc("nothing like it"), ValueError, "there are CRC-3/GSM"),
        (lambda: lt.Crc(16), TypeError, "the name of a CRC is a str"),  # type: ignore[arg-type]
        (lambda: lt.Crc("CRC-16/MODBUS", "middle"), ValueError, "order is one of None, 'little', 'big'"),
        (lambda: lt.Sum8(encode="Hex"), ValueError, "encode is one of 'raw', 'hex', 'HEX', 'decimal'"),
        (lambda: lt.Sum16(place="end"), ValueError, "place is one of 'before_end', 'after_end'"),
        (lambda: lt.Xor8(covers="all"), ValueError, "covers is one of 'body', 'with_start', 'with_both'"),
        (lambda: lt.Checksum(7), TypeError, "a Checksum is a function"),  # type: ignore[arg-type]
        (lambda: lt.Checksum(xor, size=0), ValueError, "size is at least 1"),
        (lambda: lt.Checksum(xor, size=17), ValueError, "size is at most 16"),
        (lambda: lt.Checksum(xor, size="1"), TypeError, "size is an int"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_refused_at_the_constructor(make: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        make()


@pytest.mark.parametrize(
    ("checksum", "wire"),
    [
        # CRC-16/MODBUS of "123456789" is 0x4B37, CRC-16/XMODEM 0x31C3, CRC-32/ISO-HDLC 0xCBF43926 (the catalogue).
        (lt.Crc("CRC-16/MODBUS", place="after_end"), b"123456789\r\x37\x4b"),
        (lt.Crc("CRC-16/MODBUS", "big", place="after_end"), b"123456789\r\x4b\x37"),
        (lt.Crc("CRC-16/XMODEM", encode="hex"), b"12345678931c3\r"),
        (lt.Crc("CRC-32/ISO-HDLC", "big", encode="HEX"), b"123456789CBF43926\r"),
        (lt.Sum8(encode="decimal"), b"123456789221\r"),
        (lt.Sum16(encode="HEX", covers="with_both"), b"12345678901EA\r"),
        (lt.Checksum(xor, size=1, encode="HEX"), b"12345678931\r"),
        (lt.Checksum(lambda covered: b"%04d" % (sum(covered) % 10000), size=4), b"1234567890477\r"),
        (lt.Checksum(zlib.crc32, 4, encode="hex"), b"123456789cbf43926\r"),
        (lt.Checksum(sum, 2, "little", encode="hex"), b"123456789dd01\r"),
    ],
)
def test_a_checksum_is_added_and_checked(checksum: Any, wire: bytes) -> None:
    lines = lt.Lines("\r", checksum=checksum)
    assert lines.encode(b"123456789") == wire
    assert lines.take(bytearray(wire)) == b"123456789"
    with pytest.raises(lt.FrameError, match=r"wrong checksum: .* came, but .* of '023456789.*' is 0x"):
        lines.take(bytearray(b"0" + wire[1:]))


def test_a_wrong_checksum_says_both_values() -> None:
    with pytest.raises(lt.FrameError, match="wrong checksum: 0x1234 came, but CRC-16/MODBUS of 'a' is 0xA87E"):
        lt.Lines("\r", checksum=lt.Crc("CRC-16/MODBUS", "big", "HEX")).take(bytearray(b"a1234\r"))


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (256, OverflowError, "a checksum of 256 does not go into 1 bytes"),
        (-1, OverflowError, "a checksum of -1"),
        (b"ab", OverflowError, "a checksum of 2 bytes, where size is 1"),
        ("a", TypeError, "a checksum is an int or bytes, not str"),
        (True, TypeError, "a checksum is an int or bytes, not bool"),
    ],
)
def test_a_function_that_returns_something_else_is_told_so(value: Any, kind: type[Exception], text: str) -> None:
    lines = lt.Lines("\r", checksum=lt.Checksum(lambda covered: value, size=1, encode="hex"))
    with pytest.raises(kind, match=text):
        lines.encode(b"a")
    with pytest.raises(kind, match=text):
        lines.take(bytearray(b"a00\r"))
