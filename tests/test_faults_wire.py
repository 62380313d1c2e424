"""Each fault on a real wire, a pseudo-terminal and TCP: what a host without labtether reads there."""

import os
import select
import socket
import time
from typing import Any, Self

import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from labtether.testing.faults import (
    HARMLESS,
    Coalesce,
    Delay,
    Disconnect,
    Drop,
    Duplicate,
    Echo,
    Fault,
    Fragment,
    Garble,
    Jitter,
    Rate,
    Refuse,
    Silence,
    Truncate,
    rehearse,
)

PATIENCE = 10.0
"""Seconds until a test gives up; nothing waits so long unless it is wrong."""


class Host:
    """The other end of the wire, with nothing of labtether in it."""

    def __init__(self, instrument: ScriptedInstrument) -> None:
        self._socket: socket.socket | None = None
        if instrument.transport == "pty":
            self._number = os.open(instrument.port, os.O_RDWR | os.O_NOCTTY)
        else:
            self._socket = socket.create_connection(instrument.address, PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._number = self._socket.fileno()

    def say(self, data: bytes) -> None:
        """Send it whole."""
        assert os.write(self._number, data) == len(data)

    def read(self) -> bytes:
        """What comes next; nothing, if the wire has ended."""
        ready, _, _ = select.select([self._number], [], [], PATIENCE)
        assert ready, f"nothing came within {PATIENCE} s"
        try:
            return os.read(self._number, 4096)
        except OSError:
            return b""  # the other end of a pseudo-terminal is closed

    def read_bytes(self, count: int) -> bytes:
        """So many, and nothing that came with them."""
        data = b""
        while len(data) < count:
            data += (piece := self.read())
            assert piece, f"the wire ended after {data!r}"
        assert len(data) == count, data
        return data

    def read_all(self) -> bytes:
        """All that comes until the wire ends."""
        data = b""
        while piece := self.read():
            data += piece
        return data

    def ask(self, question: bytes, count: int) -> tuple[bytes, float]:
        """What comes of it, so many bytes, and after how many seconds."""
        began = time.monotonic()
        self.say(question)
        return self.read_bytes(count), time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._number)


@pytest.fixture(params=["pty", "tcp"])
def transport(request: pytest.FixtureRequest) -> Any:
    """Where the instrument is."""
    return request.param


def instrument(labsim: Any, transport: str, *faults: Fault) -> ScriptedInstrument:
    """One that answers `3?` with `reply 3`."""
    psu: ScriptedInstrument = labsim.script("psu", transport=transport, faults=faults)
    psu.when(r"(?P<n>\d+)\?").reply("reply {n}")
    return psu


def pieces(psu: ScriptedInstrument) -> list[bytes]:
    """What went out, piece by piece."""
    return [event.data for event in psu.wire if event.direction == "<"]


# -- Harmless ----------------------------------------------------------------------------------------------------------


def test_delay_makes_a_reply_late(labsim: Any, transport: str) -> None:
    with Host(instrument(labsim, transport, Delay(0.1, only=[2]))) as host:
        assert host.ask(b"1?\n", 8)[0] == b"reply 1\n"
        reply, seconds = host.ask(b"2?\n", 8)
        assert reply == b"reply 2\n"
        assert seconds >= 0.1


def test_jitter_makes_each_reply_late_by_a_time_of_its_own(labsim: Any, transport: str) -> None:
    jitter = Jitter(0.2, seed=3)
    said = [(float(number), "<", b"reply %d\n" % number) for number in range(1, 5)]
    late = [at % 1 for at, _ in rehearse([jitter], said)]  # type: ignore[arg-type]
    with Host(instrument(labsim, transport, jitter)) as host:
        took = [host.ask(b"%d?\n" % number, 8)[1] for number in range(1, 5)]
    assert all(seconds >= least for seconds, least in zip(took, late, strict=True)), (took, late)
    assert max(late) > 0.1, late


def test_rate_gives_every_byte_its_time(labsim: Any, transport: str) -> None:
    psu = instrument(labsim, transport, Rate(1000))
    with Host(psu) as host:
        reply, seconds = host.ask(b"1?\n", 8)
        assert reply == b"reply 1\n"
        assert seconds >= 0.08
        # Two replies queue on the line.
        assert host.ask(b"1?\n2?\n", 16)[1] >= 0.16
    assert pieces(psu) == [bytes([byte]) for byte in b"reply 1\nreply 1\nreply 2\n"]


def test_fragment_cuts_a_reply(labsim: Any, transport: str) -> None:
    psu = instrument(labsim, transport, Fragment([1, 2], gap=0.05))
    with Host(psu) as host:
        reply, seconds = host.ask(b"1?\n", 8)
        assert reply == b"reply 1\n"
        assert seconds >= 0.1
    assert pieces(psu) == [b"r", b"ep", b"ly 1\n"]


def test_coalesce_makes_one_read_of_two_replies(labsim: Any, transport: str) -> None:
    with Host(instrument(labsim, transport, Coalesce(0.1))) as host:
        began = time.monotonic()
        host.say(b"1?\n2?\n")
        assert host.read() == b"reply 1\nreply 2\n"
        assert time.monotonic() - began >= 0.1


# -- Harmful -----------------------------------------------------------------------------------------------------------


def test_a_dropped_reply_never_comes(labsim: Any, transport: str) -> None:
    with Host(instrument(labsim, transport, Drop(only=[1]))) as host:
        host.say(b"1?\n")
        assert host.ask(b"2?\n", 8)[0] == b"reply 2\n"


def test_a_garbled_reply_is_as_long_and_not_the_same(labsim: Any, transport: str) -> None:
    garble = Garble(2, seed=7)
    [(_, garbled)] = rehearse([garble], [(0.0, "<", b"reply 1\n")])
    with Host(instrument(labsim, transport, garble)) as host:
        reply, _ = host.ask(b"1?\n", 8)
    assert reply == garbled
    assert sum(got != said for got, said in zip(reply, b"reply 1\n", strict=True)) == 2


def test_a_duplicate_comes_again(labsim: Any, transport: str) -> None:
    with Host(instrument(labsim, transport, Duplicate(2, gap=0.05, only=[1]))) as host:
        reply, seconds = host.ask(b"1?\n", 24)
        assert reply == b"reply 1\n" * 3
        assert seconds >= 0.1
        assert host.ask(b"2?\n", 8)[0] == b"reply 2\n"


def test_an_echo_comes_before_the_reply(labsim: Any, transport: str) -> None:
    with Host(instrument(labsim, transport, Echo())) as host:
        assert host.ask(b"4", 1)[0] == b"4"
        assert host.ask(b"2?\n", 12)[0] == b"2?\nreply 42\n"


def test_of_a_truncated_reply_the_beginning_comes(labsim: Any, transport: str) -> None:
    with Host(instrument(labsim, transport, Truncate(3, only=[1]))) as host:
        assert host.ask(b"1?\n", 3)[0] == b"rep"
        assert host.ask(b"2?\n", 8)[0] == b"reply 2\n"


def test_silence_lasts_as_many_messages_as_it_says(labsim: Any, transport: str) -> None:
    psu = instrument(labsim, transport, Silence(1, for_messages=2))
    with Host(psu) as host:
        assert host.ask(b"1?\n", 8)[0] == b"reply 1\n"
        host.say(b"2?\n")
        host.say(b"3?\n")
        assert host.ask(b"4?\n", 8)[0] == b"reply 4\n"
    assert psu.heard == ["1?", "2?", "3?", "4?"]


@pytest.mark.parametrize(
    ("fault", "questions", "expected"),
    [
        (Disconnect(2), b"1?\n2?\n3?\n", b"reply 1\nreply 2\n"),
        (Disconnect(1, in_message=3), b"1?\n2?\n3?\n", b"reply 1\nrep"),
        (Disconnect(0), b"1?\n", b""),
    ],
    ids=["after a message", "in a message", "at the first word"],
)
def test_a_disconnect_ends_the_wire_where_it_says(
    labsim: Any, transport: str, fault: Fault, questions: bytes, expected: bytes
) -> None:
    with Host(instrument(labsim, transport, fault)) as host:
        host.say(questions)
        assert host.read_all() == expected


def test_after_a_disconnect_it_comes_back_where_it_was(labsim: Any, transport: str) -> None:
    psu = instrument(labsim, transport, Disconnect(1, back=0.05))
    with Host(psu) as host:
        began = time.monotonic()
        host.say(b"1?\n")
        assert host.read_all() == b"reply 1\n"
    while True:
        try:
            host = Host(psu)
        except OSError:
            assert time.monotonic() - began < PATIENCE
            time.sleep(0.005)  # somebody who looks now and then whether it is back
        else:
            break
    with host:
        assert time.monotonic() - began >= 0.05
        assert host.ask(b"2?\n", 8)[0] == b"reply 2\n"


@pytest.mark.parametrize("transport", ["tcp", "rfc2217", "memory"])
def test_the_first_hosts_are_refused(labsim: Any, transport: str) -> None:
    psu = instrument(labsim, transport, Refuse(2))
    answered = []
    for _ in range(4):
        try:
            with psu.link(timeout=PATIENCE).sync as link:
                answered.append(link.query("1?"))
        except lt.LinkError as error:
            answered.append(type(error).__name__)
    assert answered[2:] == ["reply 1", "reply 1"]
    assert not {"reply 1"} & set(answered[:2])


# -- Ours on the other end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*HARMLESS, HARMLESS], ids=lambda fault: type(fault).__name__)
def test_with_what_is_harmless_every_answer_comes(labsim: Any, transport: str, fault: Any) -> None:
    faults = fault if isinstance(fault, tuple) else (fault,)
    with instrument(labsim, transport, *faults).link(timeout=PATIENCE).sync as link:
        assert [link.query(f"{number}?") for number in range(5)] == [f"reply {number}" for number in range(5)]
