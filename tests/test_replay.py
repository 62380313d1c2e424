"""Conversations played again: byte for byte, however the host cuts them, in the order and at the pace they had."""

import json
import random
import re
import socket
from pathlib import Path

import pytest
import serial

import labtether as lt
from labtether.testing import (
    Pause,
    ProtocolMismatch,
    ReadingLoss,
    Said,
    Sent,
    Transcript,
    faults,
    parse_recording,
    parse_transcript,
    read_recording,
    replay,
    simulate,
)
from labtether.testing.readers import from_pairs
from support import PtyInstrument

PSU = r"""
= name psu
= framing "\r\n"
> *IDN?
< ACME,PSU,1.0
> MEAS?
~ 30ms
< 1.\
~ 20ms
< 23
> OFF
"""


def test_a_transcript_is_an_instrument() -> None:
    with replay(PSU) as psu, psu.link().sync as link:
        assert link.query("*IDN?") == "ACME,PSU,1.0"
        asked = link.trace()[-1].monotonic
        assert link.query("MEAS?") == "1.23"
        assert link.trace()[-1].monotonic - asked >= 0.05
        link.send("OFF")
        psu.check()
        assert psu.heard == ["*IDN?", "MEAS?", "OFF"]
        assert psu.report().is_clean
        assert "as in <transcript>, 19 bytes heard" in str(psu.report())


@pytest.mark.parametrize("transport", ["pty", "tcp", "rfc2217", "memory"])
async def test_it_can_be_anywhere(transport: str) -> None:
    with replay(PSU, transport=transport, pace=0) as psu:
        async with psu.link() as link:
            assert await link.query("*IDN?") == "ACME,PSU,1.0"
            assert await link.query("MEAS?") == "1.23"
            await link.send("OFF")
        psu.check()


def test_a_file_is_played(tmp_path: Path) -> None:
    file = tmp_path / "psu.transcript"
    file.write_text(PSU)
    with replay(file, name="other") as psu:
        assert (psu.name, psu.source) == ("other", str(file))
    with replay(str(file)) as psu:
        assert psu.name == "psu"


def test_what_is_said_first_is_said_to_the_host_that_connects() -> None:
    with replay('= framing "\\n"\n< READY\n> GO\n~ 10ms\n< GOING', transport="tcp") as robot:
        with robot.link().sync as link:
            assert link.receive() == "READY"
            assert link.query("GO") == "GOING"
        robot.check()


def test_pauses_can_be_left_out_or_drawn_out() -> None:
    talk = (Sent(b"A"), Pause(40.0), Said(b"a"), Pause(1000.0), Sent(b"B"), Said(b"b"))
    with replay(Transcript(talk), pace=0) as psu, psu.link().sync as link:
        link.write(b"AB")
        assert link.read(2) == b"ab"
    with replay(Transcript((Sent(b"A"), Pause(0.01), Said(b"a"))), pace=5) as psu, psu.link().sync as link:
        link.write(b"A")
        assert link.read(1) == b"a"
        sent, said = (event.monotonic for event in psu.wire)
        assert said - sent >= 0.05


def test_the_time_a_host_takes_is_its_own() -> None:
    talk = (Sent(b"A"), Pause(600.0), Sent(b"B"), Said(b"b"))
    with replay(Transcript(talk)) as psu, psu.link().sync as link:
        link.write(b"AB")
        assert link.read(1) == b"b"


def test_it_begins_again_if_it_is_to() -> None:
    with replay(from_pairs([("A", "1"), ("B", "2")]), again=True) as psu, psu.link().sync as link:
        assert [link.query(command) for command in "ABABA"] == ["1", "2", "1", "2", "1"]
        psu.check()


def test_a_host_that_gave_up_and_begins_again_is_followed_and_told_of() -> None:
    with replay(from_pairs([("A", "1"), ("B", "2")]), again=True) as psu, psu.link().sync as link:
        assert link.query("A") == "1"
        assert link.query("A") == "1"
        assert link.query("B") == "2"
        with pytest.raises(ProtocolMismatch, match="once the host sent something else than <tr"):
            psu.check()


def test_a_long_answer_is_not_cut_where_the_host_reads_slowly() -> None:
    block = random.Random(1).randbytes(300_000)
    with replay(Transcript((Sent(b"DUMP"), Said(block), Said(b"!"))), pace=0) as scope, scope.link().sync as link:
        link.write(b"DUMP")
        assert link.read(len(block) + 1, timeout=20) == block + b"!"


def test_faults_strike_a_replay_too() -> None:
    with replay(PSU, pace=0, faults=[faults.Fragment([1, 2], gap=0.001)]) as psu, psu.link().sync as link:
        assert link.query("*IDN?") == "ACME,PSU,1.0"
    assert len([event for event in psu.wire if event.direction == "<"]) > 1


# -- how it went -------------------------------------------------------------------------------------------------------


def test_a_host_that_says_something_else_is_shown_where() -> None:
    with replay('= framing "\\n"\n> VOLT 1.0\n< OK\n> OUTP ON\n< OK') as psu, psu.link().sync as link:
        assert link.query("VOLT 1.0") == "OK"
        link.send("OUTP OFF")
        with pytest.raises(ProtocolMismatch) as error:
            psu.check()
        with pytest.raises(lt.LinkTimeout):
            link.query("OUTP ON", timeout=0.1)
    shown = str(error.value).splitlines()
    assert shown[:4] == [
        "instrument: the host sent something else at byte 15 of what is written in <transcript>; "
        "from there on nothing was said",
        r"  expected  VOLT 1.0\nOUTP ON\n",
        r"  heard     VOLT 1.0\nOUTP OFF\n",
        r"                            ^",
    ]
    assert error.value.report.stray == b"FF\n"
    assert any("'OUTP OFF\\n'" in line for line in shown), "the wire is shown"


def test_a_host_that_has_not_said_everything_is_told_what_is_missing() -> None:
    with replay(PSU, pace=0) as psu, psu.link().sync as link:
        link.query("*IDN?")
        with pytest.raises(ProtocolMismatch) as error:
            psu.check()
    assert "8 bytes were heard" not in str(error.value).splitlines()[1]
    assert "7 bytes were heard, 12 are missing" in str(error.value)
    assert "  - MEAS?\\r\\n\n  - OFF\\r\\n" in str(error.value)


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        (b"*IDN?\n", r"only the terminator differs: \r\n expected, \n heard"),
        (b"*IDN?\r", r"only the end of a message is missing: \n"),
        (b"*IDN?", r"only the end of a message is missing: \r\n"),
        (b"*IDX?\r\n", ""),
    ],
)
def test_a_terminator_that_differs_is_a_hint(sent: bytes, hint: str) -> None:
    with replay(Transcript((Sent(b"*IDN?\r\n"), Said(b"ACME\r\n")))) as psu, psu.link().sync as link:
        link.write(sent)
        with pytest.raises(ProtocolMismatch) as error:
            psu.check()
    assert ("hint: " in str(error.value)) == bool(hint)
    assert hint in str(error.value)


@pytest.mark.parametrize(
    ("source", "options", "error", "why"),
    [
        (1, {}, TypeError, "source is a path, a transcript or a recording, not int"),
        ("> A\nB", {}, ValueError, "<transcript>:2: "),
        ("> A\n", {"pace": -1}, ValueError, "pace is not negative"),
        ("> A\n", {"pace": None}, TypeError, "pace is a number"),
        ("> A\n", {"transport": "usb"}, ValueError, "transport is one of"),
        ("> A\n", {"port": -1}, ValueError, "port is at least 0"),
    ],
)
def test_what_cannot_be_played_is_told(source, options, error, why) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=re.escape(why)):
        replay(source, **options)
    with pytest.raises(FileNotFoundError):
        replay("no/such/file.jsonl")


# -- recordings --------------------------------------------------------------------------------------------------------


def reply_of(rng: random.Random) -> bytes:
    """A message of any bytes, and of any length."""
    return rng.randbytes(rng.choice([0, 1, 3, 70, 5000])).replace(b"\n", b"")


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A recording of a session with an instrument on a pseudo-terminal: 30 questions, answers of all sizes, alarms."""
    rng = random.Random(7)
    file = tmp_path / "session.jsonl"

    def answer(_command: bytes) -> bytes:
        return reply_of(rng) + (b"\nALARM\n" if rng.random() < 0.3 else b"\n")

    with PtyInstrument(answer) as psu, lt.serial(psu.port, framing=b"\n").sync as link, link.record(file):
        for number in range(30):
            link.query(b"Q%d:" % number + reply_of(rng)[:100])
        with pytest.raises(lt.LinkTimeout):
            while True:
                link.receive(timeout=0.1)
    return file


@pytest.mark.parametrize("seed", range(3))
def test_a_recorded_session_is_replayed_byte_for_byte_to_a_host_that_cuts_it_otherwise(
    session: Path, seed: int
) -> None:
    recorded = read_recording(session)
    assert len(recorded.said) > 10_000
    rng = random.Random(seed)
    with replay(session, pace=0) as psu, serial.Serial(psu.port, timeout=10) as port:
        said = b""
        left = recorded.events
        for number, event in enumerate(left):
            if event.direction == ">":
                rest = event.data
                while rest:
                    size = rng.choice([1, 2, 7, 1000])
                    port.write(rest[:size])
                    rest = rest[size:]
            elif event.direction == "<":
                # What has been said before the next command, in pieces of any size.
                following = left[number + 1] if number + 1 < len(left) else None
                if following is None or following.direction == ">":
                    wanted = b"".join(one.data for one in left[: number + 1] if one.direction == "<")
                    while len(said) < len(wanted):
                        said += port.read(min(rng.choice([1, 3, 64, 4096]), len(wanted) - len(said)))
        assert said == recorded.said
        psu.check()
        assert b"".join(event.data for event in psu.wire if event.direction == ">") == recorded.sent


def test_a_recorded_session_is_replayed_byte_for_byte_to_the_link_that_recorded_it(session: Path) -> None:
    recorded = read_recording(session)
    again = session.with_name("again.jsonl")
    with replay(session, framing=b"\n") as psu, psu.link().sync as link, link.record(again):
        for event in read_recording(session).events:
            if event.direction == ">":
                link.query(event.data[:-1])
        with pytest.raises(lt.LinkTimeout):
            while True:
                link.receive(timeout=0.1)
        psu.check()
    assert (read_recording(again).sent, read_recording(again).said) == (recorded.sent, recorded.said)


def test_recorded_times_are_kept() -> None:
    recording = parse_recording(
        b'{"labtether": 1, "link": "psu"}\n{"t":5,"dir":">","txt":"A"}\n{"t":5.05,"dir":"<","txt":"a"}\n'
        b'{"t":9,"dir":"!","txt":"closed"}\n{"t":9,"dir":">","txt":"B"}\n'
    )
    with replay(recording) as psu, psu.link().sync as link:
        link.write(b"A")
        assert link.read(1) == b"a"
        sent, said = (event.monotonic for event in psu.wire)
        assert said - sent >= 0.05


# -- other programs' files ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::labtether.testing.ReadingLoss")
def test_files_of_other_programs_are_played(tmp_path: Path) -> None:
    log = {"tx": "V?\nI?\n", "rx": "1\n2\n", "tx_encoding": "utf-8", "rx_encoding": "utf-8"}
    capture = [("write", "V?\n"), ("readline", "1\n"), ("write", "I?\n"), ("read", "2"), ("read", "\n")]
    rows = [{"module": "serial", "device_id": "p", "action": action, "data": data} for action, data in capture]
    for name, content in {
        "test_psu.jsonl": {"test_psu": log},
        "validation": {"version": "1", "commands": rows},
    }.items():
        file = tmp_path / name
        file.write_text(json.dumps(content))
        with simulate(file, framing="\n", name="psu") as psu, psu.link().sync as link:
            assert [link.query(command) for command in ("V?", "I?", "V?")] == ["1", "2", "1"]


def test_what_their_files_cannot_tell_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"test": {"tx": [65], "rx": [66]}}')
    with pytest.warns(ReadingLoss, match="which reply belongs to which command"):
        replay(file).stop()


DEVICES = r"""
spec: "1.1"
devices:
  supply:
    eom:
      ASRL INSTR: {q: "\r\n", r: "\n"}
      TCPIP SOCKET: {q: "\n", r: "\r\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "SCPI,MOCK,VERSION_1.0"}
      - {q: "BYTES(ff 00)", r: "BYTES(fe)"}
      - {q: "*RST"}
    properties:
      voltage:
        default: 1.0
        getter: {q: "VOLT?", r: "{:.2f}"}
        setter: {q: "VOLT {:.3f}", r: OK}
        specs: {min: 0, max: 6, type: float}
"""


@pytest.mark.parametrize("transport", ["pty", "tcp"])
def test_a_device_of_pyvisa_sim_is_an_instrument(tmp_path: Path, transport: str) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "devices.yaml"
    file.write_text(DEVICES)
    with simulate(file, transport=transport) as supply, supply.link().sync as link:
        assert supply.name == "supply"
        assert link.query("*IDN?") == "SCPI,MOCK,VERSION_1.0"
        assert link.query("VOLT 2.5") == "OK"
        assert link.query("VOLT?") == "2.50"
        assert link.query("VOLT 7") == "ERROR"
        link.send("*RST")
        assert link.query("\xff\x00") == "\xfe"
        assert [link.query("VOLT?;*IDN?"), link.receive()] == ["2.50", "SCPI,MOCK,VERSION_1.0"]
    with pytest.raises(ValueError, match=r"use labtether\.testing\.simulate"):
        replay(file)


def test_a_plain_socket_can_be_on_the_other_end() -> None:
    with replay(PSU, transport="tcp", pace=0) as psu, socket.create_connection(psu.address) as host:
        host.sendall(b"*IDN?\r\n")
        assert host.recv(100) == b"ACME,PSU,1.0\r\n"
        assert psu.heard == ["*IDN?"]
        assert parse_transcript(PSU).sent.startswith(b"*IDN?")
