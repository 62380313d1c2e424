"""Framings as values: bad input at the constructor, reprs, pickling, and what they do without a link."""

import copy
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import labtether as lt
from labtether._framing import as_framing, encoder_of


class Brackets:
    """A framing of one's own: `<body>`."""

    def encode(self, body: bytes) -> bytes:
        if b">" in body:
            raise ValueError(f"{body!r} has an end in it")
        return b"<" + body + b">"

    def take(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(b">")
        if end < 0:
            return None
        body = bytes(buffer[1:end])
        del buffer[: end + 1]
        if body.startswith(b"!"):
            raise ValueError(f"{body!r} is bad")
        return body

    def __repr__(self) -> str:
        return "Brackets()"


FRAMINGS: list[tuple[Any, str]] = [
    (lt.Lines(), r"Lines('\n', encoding='latin-1')"),
    (
        lt.Lines(("\r", b">"), send_terminator="", encoding="utf8", keep=True, count=2),
        r"Lines(('\r', '>'), encoding='utf-8', send_terminator=b'', keep=True, count=2)",
    ),
    (
        lt.Lines("\r", escape="\x1b", checksum=lt.Sum8(encode="HEX")),
        r"Lines('\r', encoding='latin-1', escape=b'\x1b', checksum=Sum8(encode='HEX'))",
    ),
    (lt.Fixed(11), "Fixed(11)"),
    (lt.Fixed({"a": 4, "b": 5}, encoding="latin-1"), "Fixed({b'a': 4, b'b': 5}, encoding='latin-1')"),
    (lt.Fixed(len), "Fixed(len)"),
    (lt.LengthPrefixed(), "LengthPrefixed(2, 'big')"),
    (
        lt.LengthPrefixed(1, "little", 3, -2, checksum=lt.Crc("crc16modbus", covers="with_start")),
        "LengthPrefixed(1, 'little', offset=3, adjust=-2, checksum=Crc('CRC-16/MODBUS', covers='with_start'))",
    ),
    (lt.Enclosed(b"\x02", b"\x03"), r"Enclosed(b'\x02', b'\x03')"),
    (lt.Enclosed("<", ">", "\\"), r"Enclosed(b'<', b'>', escape=b'\\', encoding='latin-1')"),
    (lt.IeeeBlock(), r"IeeeBlock(b'\n')"),
    (lt.IeeeBlock("", max_length=100), "IeeeBlock(b'', max_length=100)"),
    (lt.ModbusRtu(), "ModbusRtu()"),
    (lt.UntilQuiet(0.05), "UntilQuiet(0.05)"),
    (lt.Slip(checksum=lt.Sum16("little")), "Slip(checksum=Sum16(order='little'))"),
    (lt.Cobs(max_length=99), "Cobs(max_length=99)"),
]


@pytest.mark.parametrize(("framing", "shown"), FRAMINGS)
def test_a_framing_shows_how_it_was_made_and_can_be_sent_to_another_process(framing: Any, shown: str) -> None:
    assert repr(framing) == shown
    for other in (pickle.loads(pickle.dumps(framing)), copy.deepcopy(framing)):
        assert other == framing
        assert hash(other) == hash(framing)
        assert repr(other) == shown


def test_framings_that_differ_are_not_equal() -> None:
    framings = [framing for framing, _ in FRAMINGS]
    assert len(set(framings)) == len(framings)
    assert lt.Slip() != lt.Cobs()
    assert lt.Sum8() != lt.Xor8()


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: lt.Lines(7), TypeError, "terminator is str"),  # type: ignore[arg-type]
    (lambda: lt.Lines("\n", encoding="latin-99"), ValueError, "no encoding 'latin-99'"),
    (lambda: lt.Lines("\n", encoding=9), TypeError, "encoding is a str or None"),  # type: ignore[arg-type]
    (lambda: lt.Lines("\n", count=0), ValueError, "count is at least 1"),
    (lambda: lt.Lines("\n", count="2"), TypeError, "count is an int"),  # type: ignore[arg-type]
    (lambda: lt.Lines("\n", escape="ab"), ValueError, "escape is one byte"),
    (lambda: lt.Lines("\n", escape=7), TypeError, "escape is str or bytes"),  # type: ignore[arg-type]
    (lambda: lt.Lines("\r\n", escape="\n"), ValueError, "the escape byte"),
    (lambda: lt.Lines("\n", checksum="crc"), TypeError, "checksum is Crc"),  # type: ignore[arg-type]
    (lambda: lt.Lines("\n", checksum=lt.Sum8), TypeError, "an instance of"),  # type: ignore[arg-type]
    (lambda: lt.Lines("\n", keep=True, checksum=lt.Sum8()), ValueError, "do not keep their terminator"),
    (lambda: lt.Lines("\n", max_length=0), ValueError, "max_length is at least 1"),
    (lambda: lt.Fixed(0), ValueError, "size is at least 1"),
    (lambda: lt.Fixed(1.5), TypeError, "size is an int"),  # type: ignore[arg-type]
    (lambda: lt.Fixed({}), ValueError, "size is empty"),
    (lambda: lt.Fixed({"a": 0}), ValueError, "size is at least 1"),
    (lambda: lt.Fixed({1: 2}), TypeError, "a command is str or bytes"),  # type: ignore[arg-type]
    (lambda: lt.LengthPrefixed(5), ValueError, "1, 2, 3 or 4 bytes, not 5"),
    (lambda: lt.LengthPrefixed(0), ValueError, "size is at least 1"),
    (lambda: lt.LengthPrefixed("2"), TypeError, "size is an int"),  # type: ignore[arg-type]
    (lambda: lt.LengthPrefixed(2, "middle"), ValueError, "order is 'big' or 'little'"),
    (lambda: lt.LengthPrefixed(2, "big", -1), ValueError, "offset is at least 0"),
    (lambda: lt.LengthPrefixed(2, "big", 0, 0.5), TypeError, "adjust is an int"),  # type: ignore[arg-type]
    (lambda: lt.LengthPrefixed(2, "big", 0, 1 << 40), ValueError, "adjust is smaller"),
    (lambda: lt.LengthPrefixed(max_length=0), ValueError, "max_length is at least 1"),
    (lambda: lt.Enclosed("", ">"), ValueError, "the start must have at least one byte"),
    (lambda: lt.Enclosed("<", b""), ValueError, "the end must have at least one byte"),
    (lambda: lt.Enclosed(2, 3), TypeError, "start is str or bytes"),  # type: ignore[arg-type]
    (lambda: lt.Enclosed("<", ">", "<"), ValueError, "the escape byte"),
    (lambda: lt.Enclosed("<", ">", b""), ValueError, "escape is one byte"),
    (lambda: lt.IeeeBlock(9), TypeError, "terminator is str or bytes"),  # type: ignore[arg-type]
    (lambda: lt.IeeeBlock(max_length=0), ValueError, "max_length is at least 1"),
    (lambda: lt.UntilQuiet(0), ValueError, "more than 0"),
    (lambda: lt.UntilQuiet(-1), ValueError, "not negative"),
    (lambda: lt.UntilQuiet(float("inf")), ValueError, "finite"),
    (lambda: lt.UntilQuiet(None), TypeError, "not None"),  # type: ignore[arg-type]
    (lambda: lt.UntilQuiet("1"), TypeError, "a number of seconds"),  # type: ignore[arg-type]
    (lambda: lt.Slip(max_length=0), ValueError, "max_length is at least 1"),
    (lambda: lt.Slip(checksum=lt.Sum8(place="after_end")), ValueError, "in SLIP and COBS"),
    (lambda: lt.Cobs(checksum=lt.Sum8(covers="with_both")), ValueError, "in SLIP and COBS"),
    (lambda: lt.serial("x", framing=lt.Slip), TypeError, "an instance, not the class"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", framing=object()), TypeError, "an object with encode"),  # type: ignore[call-overload]
]


@pytest.mark.parametrize(("make", "kind", "text"), REFUSED)
def test_bad_input_is_refused_at_the_constructor(make: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        make()


def taken(framing: Any, wire: bytes) -> Iterator[bytes | str]:
    """Every message in `wire`, and every error in words."""
    buffer = bytearray(wire)
    while True:
        before = len(buffer)
        try:
            body = framing.take(buffer)
        except lt.FrameError as error:
            assert len(buffer) < before, "an error removes something"
            yield str(error)
        else:
            if body is None:
                return
            yield body


@pytest.mark.parametrize(
    ("framing", "body", "wire"),
    [
        (lt.Lines("\r\n"), b"S", b"S\r\n"),
        (lt.Fixed(2, checksum=lt.Sum16()), b"ab", b"ab\x00\xc3"),
        (lt.LengthPrefixed(2, "little", offset=1), b"\x01ab", b"\x01\x02\x00ab"),
        (lt.Enclosed("\x02", "\x03", checksum=lt.Xor8(place="after_end", covers="with_both")), b"1Q", b"\x021Q\x03a"),
        (lt.IeeeBlock(), b"ab", b"#12ab\n"),
        (lt.ModbusRtu(), b"\x11\x06\x00\x01\x00\x03", b"\x11\x06\x00\x01\x00\x03\x9a\x9b"),
        (lt.Slip(), b"a\xc0", b"\xc0a\xdb\xdc\xc0"),
        (lt.Cobs(), b"a\x00", b"\x02a\x01\x00"),
    ],
)
def test_a_framing_can_be_used_without_a_link(framing: Any, body: bytes, wire: bytes) -> None:
    assert framing.encode(body) == wire
    assert list(taken(framing, wire + wire)) == [body, body]
    assert isinstance(framing, lt.Framing)


def test_what_cannot_be_sent_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"'a\\x03b' contains '\\x03', which ends a message"):
        lt.Enclosed("\x02", "\x03").encode(b"a\x03b")
    with pytest.raises(ValueError, match="are 2 to 254"):
        lt.ModbusRtu().encode(b"\x01")


def test_what_is_no_message_is_a_frame_error_and_removed() -> None:
    assert list(taken(lt.Enclosed("<", ">"), b"noise<a>")) == ["5 bytes before '<': 'noise'", b"a"]
    found = list(taken(lt.LengthPrefixed(max_length=9), b"\xff\xff\x00\x01x"))
    assert len(found) == 2
    assert str(found[0]).startswith(r"longer than 9 bytes; it begins with '\xff\xff'")
    assert found[1] == b"x"


def test_any_object_with_encode_and_take_is_a_framing() -> None:
    own = as_framing(Brackets())
    assert own is not None
    assert repr(own) == "Brackets()"
    assert own.encode(b"a") == b"<a>"
    with pytest.raises(ValueError, match=r"b'>' has an end in it"):
        own.encode(b">")
    found = list(taken(own, b"<a><!b><c>"))
    assert found == [b"a", "the framing's take() raised ValueError: b'!b' is bad", b"c"]
    assert encoder_of(own).encoding is None


def test_text_of_ones_own_framing_has_the_encoding_it_says() -> None:
    class Text(Brackets):
        encoding = "utf8"

    assert encoder_of(as_framing(Text())).encoding == "utf-8"


@pytest.mark.parametrize(
    ("take", "text"),
    [
        (lambda buffer: "text", "returns bytes or None, not str"),
        (lambda buffer: b"x", "removed nothing"),
        (lambda buffer: buffer.append(1), "only remove bytes from the front"),
        (lambda buffer: buffer.pop(), "only remove bytes from the front"),
    ],
)
def test_a_take_that_breaks_the_rules_is_told_so(take: Callable[[bytearray], Any], text: str) -> None:
    class Odd(Brackets):
        def take(self, buffer: bytearray) -> Any:
            return take(buffer)

    own = as_framing(Odd())
    assert own is not None
    with pytest.raises(TypeError, match=text):
        own.take(bytearray(b"<a>"))


def test_an_encode_that_returns_no_bytes_is_told_so() -> None:
    class Odd(Brackets):
        def encode(self, body: bytes) -> Any:
            return "text"

    own = as_framing(Odd())
    assert own is not None
    with pytest.raises(TypeError, match="returns bytes, not str"):
        own.encode(b"a")


def test_a_size_may_depend_on_the_command() -> None:
    by_table = lt.Fixed({"a": 4}, checksum=lt.Sum8())
    assert by_table.for_command(b"a") == lt.Fixed(4, checksum=lt.Sum8())
    with pytest.raises(ValueError, match="no size is given for the reply to b'x'"):
        by_table.for_command(b"x")
    by_function = lt.Fixed(lambda command: len(command) + 1, encoding="latin-1")
    assert by_function.for_command(b"abc") == lt.Fixed(4, encoding="latin-1")
    assert lt.Lines().for_command(b"a") == lt.Lines()
