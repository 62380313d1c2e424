"""Framings on a real line: each kind once, and the user's own code, which must never hold anything up."""

import gc
import threading
import time
import weakref
from typing import Any

import pytest

import labtether as lt
from support.child import run_child
from support.instrument import Reply
from support.lines import PtyInstrument


class Brackets:
    """`<body>`; what some bodies do is what the tests are about."""

    encoding = "latin-1"

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.hold = threading.Event()

    def encode(self, body: bytes) -> bytes:
        if body == b"unsendable":
            raise LookupError("not that one")
        return b"<" + body + b">"

    def take(self, buffer: bytearray) -> bytes | None:
        self.threads.add(threading.current_thread().name)
        end = buffer.find(b">")
        if end < 0:
            return None
        body = bytes(buffer[1:end])
        del buffer[: end + 1]
        if body == b"bad":
            raise ValueError("a bad one")
        if body == b"bug":
            raise KeyError("oops")
        if body == b"hang":
            self.hold.wait()
        return body


def mirror(command: bytes) -> Reply:
    """The command back, in two pieces."""
    return [(0.0, command[:2]), (0.001, command[2:] + b">")]


async def test_a_framing_of_ones_own_cuts_replies_on_a_thread_of_its_own() -> None:
    framing = Brackets()
    with PtyInstrument(mirror, terminator=b">") as instrument:
        async with lt.serial(instrument.port, framing=framing) as link:
            replies = [await link.query(str(number)) for number in range(20)]
            assert replies == [str(number) for number in range(20)]
            async with link.poll("S", every=0, count=3) as readings:
                assert [reading.value async for reading in readings] == ["S", "S", "S"]
    assert framing.threads == {"labtether user code"}


async def test_what_a_framing_raises_reaches_the_caller_and_the_link_goes_on() -> None:
    with PtyInstrument(mirror, terminator=b">") as instrument:
        async with lt.serial(instrument.port, framing=Brackets()) as link:
            with pytest.raises(lt.FrameError, match=r"the framing's take\(\) raised ValueError: a bad one") as bad:
                await link.query("bad")
            assert isinstance(bad.value.__cause__, ValueError)
            with pytest.raises(KeyError, match="oops") as bug:
                await link.query("bug")
            assert "take() raised KeyError" in bug.value.__notes__[0]
            with pytest.raises(LookupError, match="not that one"):
                await link.query("unsendable")
            assert await link.query("fine") == "fine"


async def test_a_take_that_does_not_return_times_out_and_stop_still_works() -> None:
    framing = Brackets()
    with PtyInstrument(mirror, terminator=b">") as instrument:
        link: lt.Link[Any] = lt.serial(instrument.port, framing=framing)
        async with link:
            with pytest.raises(lt.LinkTimeout, match=r"6 bytes came, but the framing's take\(\) has not returned"):
                await link.query("hang", timeout=0.1)
        assert link.state == "closed"
    framing.hold.set()


async def test_a_reply_may_have_a_framing_of_ones_own() -> None:
    with PtyInstrument(lambda command: b"<" + command + b">") as instrument:
        async with lt.serial(instrument.port, framing="\n") as link:
            assert await link.query("a", framing=Brackets()) == "a"
            async with link.exchange() as talk:
                await talk.send("b")
                assert await talk.receive(framing=Brackets()) == "b"


async def test_a_checksum_of_ones_own_is_checked_on_a_thread_of_its_own() -> None:
    threads = set()

    def total(covered: bytes) -> int:
        threads.add(threading.current_thread().name)
        if covered == b"bug":
            raise KeyError("oops")
        return sum(covered) % 256

    answers = {b"a61": b"b62\n", b"c63": b"b63\n", b"d64": b"bug00\n"}
    framing = lt.Lines("\n", checksum=lt.Checksum(total, size=1, encode="hex"))
    with PtyInstrument(answers.get) as instrument:
        async with lt.serial(instrument.port, framing=framing) as link:
            assert await link.query("a") == "b"
            with pytest.raises(lt.FrameError, match="wrong checksum: 0x63 came, but the checksum of 'b' is 0x62"):
                await link.query("c")
            with pytest.raises(KeyError, match="oops"):
                await link.query("d")
            with pytest.raises(KeyError, match="oops"):
                await link.send("bug")
    assert threads == {"labtether user code", "MainThread"}


async def test_one_framing_serves_many_links() -> None:
    framing = Brackets()
    with PtyInstrument(mirror, terminator=b">") as one, PtyInstrument(mirror, terminator=b">") as two:
        async with lt.serial(one.port, framing=framing) as left, lt.serial(two.port, framing=framing) as right:
            for number in range(10):
                assert await lt.gather(left.query(f"l{number}"), right.query(f"r{number}")) == [
                    f"l{number}",
                    f"r{number}",
                ]


async def test_the_size_of_a_reply_may_depend_on_its_command() -> None:
    framing = lt.Fixed({"a!": 4, "b!": 2})
    with PtyInstrument({b"a": b"1234", b"b": b"12"}.get, terminator=b"!") as instrument:
        async with lt.serial(instrument.port, framing=framing) as link:
            assert await link.query(b"a!") == b"1234"
            assert await link.query(b"b!") == b"12"
            async with link.exchange() as talk:
                assert await talk.query(b"a!") == b"1234"
            async with link.poll(b"b!", every=0, count=2) as readings:
                assert [reading.value async for reading in readings] == [b"12", b"12"]
            with pytest.raises(ValueError, match="no size is given for the reply to b'c!'"):
                await link.query(b"c!")


@pytest.mark.parametrize(
    ("framing", "command", "reply"),
    [
        (
            lt.LengthPrefixed(2, "little", checksum=lt.Crc("CRC-16/MODBUS", covers="with_start")),
            b"ask",
            b"answer\n\xff",
        ),
        (lt.Enclosed(b"\x02", b"\x03", checksum=lt.Xor8(place="after_end", covers="with_both")), b"R", b"12"),
        (lt.IeeeBlock(), b"DATA?", bytes(range(256)) * 20),
        (lt.ModbusRtu(), b"\x11\x03\x00\x6b\x00\x03", b"\x11\x03\x06\x02\x2b\x00\x00\x00\x64"),
        (lt.Slip(), b"\xc0\xdb", b"\xc0\xdb\xdc"),
        (lt.Cobs(checksum=lt.Sum16()), b"\x00", bytes(300)),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_binary_framings_on_a_line(framing: Any, command: bytes, reply: bytes) -> None:
    with PtyInstrument(lambda _: framing.encode(reply), terminator=framing.encode(command)) as instrument:
        async with lt.serial(instrument.port, framing=framing) as link:
            assert await link.query(command) == reply
            assert await link.query(command) == reply


class Holder:
    """An instrument whose own method is its link's checksum: a circle through Rust."""

    def __init__(self, port: str) -> None:
        self.link = lt.serial(port, framing=lt.Lines(checksum=lt.Checksum(self.total, size=1, encode="hex")))

    def total(self, covered: bytes) -> int:
        return sum(covered) % 256


async def test_an_instrument_whose_method_is_its_checksum_can_be_collected() -> None:
    with PtyInstrument({b"a61": b"b62\n"}.get) as instrument:
        holder = Holder(instrument.port)
        async with holder.link as link:
            assert await link.query("a") == "b"
        seen = weakref.ref(holder)
        del holder, link
        gc.collect()
        assert seen() is None


def test_the_thread_ends_when_no_link_needs_it() -> None:
    with PtyInstrument(mirror, terminator=b">") as instrument:
        with lt.serial(instrument.port, framing=Brackets()).sync as link:
            assert link.query("a") == "a"
    del link
    give_up = time.monotonic() + 5
    while any(thread.name == "labtether user code" for thread in threading.enumerate()):
        assert time.monotonic() < give_up, "it goes on"
        gc.collect()
        time.sleep(0.01)


EXIT = """
import sys, time
import labtether as lt
from support.lines import PtyInstrument

class Stuck:
    def encode(self, body):
        return body + b">"

    def take(self, buffer):
        {stuck}

with PtyInstrument(lambda command: b"x>", terminator=b">") as instrument:
    link = lt.serial(instrument.port, framing=Stuck())
    with link.sync as face:
        try:
            face.query(b"a", timeout=0.1)
        except lt.LinkTimeout as error:
            print(error)
"""


@pytest.mark.parametrize("stuck", ["time.sleep(1000)", "while True: pass", "time.sleep(0.4)"])
def test_the_process_ends_where_a_take_does_not_return(stuck: str) -> None:
    finished = run_child(EXIT.replace("{stuck}", stuck), timeout=10)
    assert "the framing's take() has not returned" in finished.stdout
    if "0.4" not in stuck:
        assert finished.seconds < 8


def test_a_forked_child_leaves_the_clerk_alone() -> None:
    run_child(
        """
        import gc, os, warnings
        import labtether as lt
        from support.lines import PtyInstrument

        warnings.simplefilter("ignore", DeprecationWarning)
        with PtyInstrument(lambda command: b"b62\\n") as instrument:
            checksum = lt.Checksum(lambda covered: sum(covered) % 256, size=1, encode="hex")
            link = lt.serial(instrument.port, framing=lt.Lines(checksum=checksum))
            with link.sync as face:
                assert face.query("a") == "b"
                child = os.fork()
                if child == 0:
                    assert lt.Lines(checksum=checksum).encode(b"a") == b"a61\\n"
                    try:
                        face.query("a")
                    except lt.ForkedProcess:
                        del face, link, checksum
                        gc.collect()
                        os._exit(0)
                    os._exit(1)
                assert os.waitpid(child, 0)[1] == 0
                assert face.query("a") == "b"
        """
    )
