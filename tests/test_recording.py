"""Recordings of links: what is in the file, whatever the link, the file and the process do."""

import base64
import errno
import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

import labtether as lt
from labtether.testing import Comment, Pause, Said, Sent, parse_recording, parse_transcript, read_recording
from support import Child, PtyInstrument, replies, run_child
from support.logs import Told

ANSWERS = {b"*IDN?": b"ACME,PSU,1.0\n", b"DUMP": bytes(range(256)).replace(b"\n", b"") + b"\n"}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_that_goes_over_a_link_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with PtyInstrument(replies(ANSWERS)) as psu, lt.serial(psu.port, 19200, name="psu").sync as link:
        with link.record(file) as recording:
            assert (recording.state, recording.path) == ("recording", str(file))
            link.query("*IDN?")
            link.query("DUMP")
        link.query("*IDN?")
    assert (recording.state, recording.events, recording.dropped, recording.error) == ("stopped", 4, 0, None)
    header, *events = rows(file)
    assert header["labtether"] == 1
    assert (header["link"], header["state"]) == ("psu", "open")
    assert header["url"].endswith("?baudrate=19200")
    assert header["ends"] == {">": "\n", "<": ["\n"]}
    assert [(event["dir"], base64.b64decode(event["b64"])) for event in events] == [
        (">", b"*IDN?\n"),
        ("<", ANSWERS[b"*IDN?"]),
        (">", b"DUMP\n"),
        ("<", ANSWERS[b"DUMP"]),
    ]
    assert all(event["txt"].encode("latin-1") == base64.b64decode(event["b64"]) for event in events)
    times = [event["t"] for event in events]
    assert times == sorted(times)
    assert times[0] >= 0
    recorded = read_recording(file)
    assert recorded.sent == b"*IDN?\nDUMP\n"
    assert recorded.said == b"".join(ANSWERS.values())
    assert recorded.cannot_tell == ()


def test_a_link_is_recorded_from_its_opening_on_and_again_when_it_is_set_up_again(tmp_path: Path) -> None:
    file = tmp_path / "scale.jsonl"
    link = lt.link("sim://balance").sync
    recording = link.record(file)
    for _ in range(2):
        with link:
            link.query("I4")
        assert recording.state == "recording"
    recording.stop()
    recording.stop()
    told = [event.note.split(":")[0] or event.direction for event in read_recording(file).events]
    assert told == ["open", ">", "<", "closed"] * 2
    assert repr(recording).startswith(f"<Recording of balance to {file} stopped, 8 events, 46 bytes>")


async def test_the_face_for_event_loops_records_too(tmp_path: Path) -> None:
    file = tmp_path / "scale.jsonl"
    async with lt.link("sim://balance") as scale:
        with scale.record(os.fspath(file)):
            await scale.query("S")
    assert read_recording(file).said == b"S S   42.00000 g\r\n"


def test_two_recordings_of_one_link_have_the_same_in_them(tmp_path: Path) -> None:
    link = lt.link("sim://balance").sync
    with link.record(tmp_path / "one"), link, link.record(tmp_path / "two"):
        link.query("S")
    one, two = read_recording(tmp_path / "one"), read_recording(tmp_path / "two")
    assert [event.data for event in one.events if event.data] == [event.data for event in two.events if event.data]


def test_a_recording_ends_with_its_link(tmp_path: Path) -> None:
    file = tmp_path / "scale.jsonl"
    link = lt.link("sim://balance")
    recording = link.record(file)
    with link.sync:
        link.sync.query("S")
    del link
    recording.stop()
    assert read_recording(file).events[-1].note == "closed: it was stopped"


def test_a_lost_link_says_so_in_its_recording(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with PtyInstrument() as psu:
        link = lt.serial(psu.port).sync
        with link.record(file):
            with pytest.raises(lt.LinkLost), link:
                psu.unplug()
                link.receive(timeout=10)
    assert any(event.note.startswith("lost: ") for event in read_recording(file).events)


def test_a_second_recording_goes_on_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "scale.jsonl"
    for command in ("S", "I4"):
        with lt.link("sim://balance").sync as link, link.record(file):
            link.query(command)
    recorded = read_recording(file)
    assert [len(part) for part in recorded.parts] == [2, 2]
    assert recorded.sent == b"S\r\nI4\r\n"


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_opened_is_an_oserror_at_once(tmp_path: Path) -> None:
    link = lt.link("sim://balance").sync
    with pytest.raises(FileNotFoundError) as missing:
        link.record(tmp_path / "none" / "file")
    assert missing.value.filename == str(tmp_path / "none" / "file")
    with pytest.raises(IsADirectoryError):
        link.record(tmp_path)
    with pytest.raises(TypeError, match="path is a str or a path"):
        link.record(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(OSError) as full:
        link.record("/dev/full")
    assert full.value.errno == errno.ENOSPC


def test_a_file_that_fails_later_ends_the_recording_and_not_the_link(tmp_path: Path, told: Told) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with lt.link("sim://balance").sync as link:
        recording = link.record(pipe)
        os.close(reader)
        link.query("I4")
        told.wait_for("the recording to")
        assert link.query("I4")
        assert recording.state == "failed"
        assert "failed" in repr(recording)
        with pytest.raises(BrokenPipeError) as failed:
            recording.stop()
        assert failed.value.filename == str(pipe)
        recording.stop()
        assert isinstance(recording.error, BrokenPipeError)


def test_the_error_of_the_body_wins_and_has_the_failure_in_a_note(tmp_path: Path, told: Told) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with lt.link("sim://balance").sync as link, pytest.raises(KeyError) as error:
        with link.record(pipe):
            os.close(reader)
            link.query("I4")
            told.wait_for("the recording to")
            raise KeyError("mine")
    assert any("and the recording of balance failed" in note for note in error.value.__notes__)


KILLED = """
    import sys
    import labtether as lt
    link = lt.link("sim://balance").sync
    link.record(sys.argv[1])
    with link:
        link.query("I4")
        print("asked", flush=True)
        with link.poll("SI", every=0) as readings:
            for reading in readings:
                pass
"""


def test_a_recording_survives_the_death_of_its_process(tmp_path: Path) -> None:
    file = tmp_path / "scale.jsonl"
    with Child(KILLED, file) as child:
        assert child.line() == "asked"
        size = file.stat().st_size
        while file.stat().st_size < size + 100_000:
            pass
        child.signal(signal.SIGKILL)
        child.finish(code=-signal.SIGKILL)
    recorded = read_recording(file)
    assert recorded.sent.startswith(b"I4\r\nSI\r\nSI\r\n")
    assert recorded.said.startswith(b'I4 A "B021002593"\r\n')
    with lt.link("sim://balance").sync as link, link.record(file):
        link.query("S")
    assert read_recording(file).parts[-1][-1].data == b"S S   42.00000 g\r\n"


def test_a_process_that_ends_has_written_everything(tmp_path: Path) -> None:
    file = tmp_path / "scale.jsonl"
    code = """
        import sys
        import labtether as lt
        link = lt.link("sim://balance", park="P").sync.setup()
        link.record(sys.argv[1])
        link.query("S")
    """
    run_child(textwrap.dedent(code), file)
    notes = [event.note or event.data for event in read_recording(file).events]
    assert notes == [b"S\r\n", b"S S   42.00000 g\r\n", "closed: the process is ending", b"P\r\n", "parked"]


def test_a_forked_child_leaves_the_recording_to_its_parent(tmp_path: Path) -> None:
    file = tmp_path / "scale.jsonl"
    code = """
        import os, sys, warnings
        import labtether as lt
        warnings.simplefilter("ignore", DeprecationWarning)
        with lt.link("sim://balance").sync as link, link.record(sys.argv[1]) as recording:
            child = os.fork()
            if child == 0:
                recording.stop()
                os._exit(recording.state != "stopped")
            assert os.waitpid(child, 0)[1] == 0
            link.query("S")
    """
    run_child(code, file)
    assert read_recording(file).said == b"S S   42.00000 g\r\n"


# -- reading -----------------------------------------------------------------------------------------------------------

HEADER = b'{"labtether": 1, "link": "psu", "ends": {">": "\\n", "<": ["\\n"]}}\n'


def test_a_torn_last_line_is_left_out() -> None:
    whole = HEADER + b'{"t":0.5,"dir":">","txt":"A\\n"}\n'
    for torn in (b'{"t":0.7,"d', b"{", b"\xff\xfe"):
        recorded = parse_recording(whole + torn)
        assert (recorded.torn, recorded.sent) == (True, b"A\n")
        assert recorded.cannot_tell
        again = parse_recording(whole + torn + b"\n" + HEADER)
        assert (again.torn, len(again.parts)) == (True, 2)
    assert not parse_recording(whole[:-1]).torn, "only its end is missing"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        (b"", 0, "it is empty"),
        (b'{"t":0,"dir":">","txt":"A"}\n', 1, "begins with its header"),
        (b'{"labtether": 2}\n', 1, "version 1, not 2"),
        (HEADER + b"[1]\n" + HEADER, 2, ""),
        (HEADER + b"nonsense\n" + b'{"t":0,"dir":">","txt":"A"}\n', 2, "no line of a recording"),
        (HEADER + b'{"t":-1,"dir":">","txt":"A"}\n', 2, "t is a number of seconds, not -1"),
        (HEADER + b'{"t":0,"dir":"tx","txt":"A"}\n', 2, "not 'tx'"),
        (HEADER + b'{"t":0,"dir":">"}\n', 2, "neither b64 nor txt"),
        (HEADER + b'{"t":0,"dir":">","b64":"?"}\n', 2, "b64 is no base64"),
        (HEADER + b'{"t":0,"dir":">","b64":"QQ==","txt":"B"}\n', 2, "take b64 away if you have changed txt"),
        (HEADER + b'{"t":0,"dir":">","txt":"\\u20ac"}\n', 2, "no bytes"),
    ],
)
def test_what_is_no_recording_is_told_with_its_line(text: bytes, line: int, why: str) -> None:
    if not why:
        assert parse_recording(text).torn, "what stands before another header may be torn"
        return
    with pytest.raises(ValueError) as error:
        parse_recording(text, source="psu.jsonl")
    assert str(error.value).startswith(f"psu.jsonl:{line}: " if line else "psu.jsonl: ")
    assert why in str(error.value)


EVENTS = b"""
{"t":0.1,"dir":"!","txt":"open: /dev/ttyUSB0"}
{"t":0.2,"dir":">","txt":"*ID"}
{"t":0.2001,"dir":">","txt":"N?\\nMEAS?\\n"}
{"t":0.21,"dir":"<","txt":"ACME\\r\\n1."}
{"t":0.71,"dir":"<","txt":"23\\r\\n"}
{"t":0.72,"dir":"!","txt":"","dropped":3}
{"t":3.72,"dir":">","txt":"OFF"}
{"t":4.22,"dir":">","txt":"!"}
"""


def test_a_recording_becomes_a_transcript_of_messages() -> None:
    recorded = parse_recording(HEADER + EVENTS)
    assert recorded.dropped == 3
    transcript = recorded.transcript()
    assert transcript.steps == (
        Comment("cannot be told: 3 events are missing: the file took them too slowly"),
        Comment("open: /dev/ttyUSB0"),
        Sent(b"*IDN?\n"),
        Sent(b"MEAS?\n"),
        Said(b"ACME\r\n"),
        Said(b"1."),
        Pause(0.5),
        Said(b"23\r\n"),
        Comment(""),
        Pause(3.01),
        Sent(b"OFF!"),
    )
    assert (transcript.sent_end, transcript.said_end, transcript.name) == (b"\n", b"\r\n", "psu")
    assert parse_transcript(str(transcript)) == transcript
    assert (transcript.sent, transcript.said) == (recorded.sent, recorded.said)
    assert Pause(0.5) not in recorded.transcript(pause=1).steps
