"""The commands that read and write conversations, as a shell sees them: record, transcript, simulate."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import serial

import labtether as lt
from labtether.testing import parse_transcript, read_recording
from support import Child, Finished, PtyInstrument, replies, run_child
from support.runs import run_pytest

CLI = "import runpy; runpy.run_module('labtether', run_name='__main__', alter_sys=True)"
COMMAND = [sys.executable, "-W", "error", "-m", "labtether"]
ANSWERS = {b"*IDN?": b"ACME,PSU,1.0\r\n", b"ALL?": b"1\r\n2\r\n"}


def labtether(*args: object, code: int = 0) -> Finished:
    """Run `python -m labtether` to its end. It never shows a traceback."""
    finished = run_child(CLI, *args, code=code)
    assert "Traceback" not in finished.stderr, finished.stderr
    if code == 0:
        assert finished.stderr == ""
    return finished


# -- record ------------------------------------------------------------------------------------------------------------


def test_commands_are_sent_one_after_the_other_and_recorded(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with PtyInstrument(replies(ANSWERS), terminator=b"\r\n") as psu:
        args = [psu.port, "--terminator", r"\r\n", "--timeout", "0.5", "--out", file]
        shown = labtether("record", *args, "--", "*IDN?", "ALL?", "-1", r"\x1b").stdout
        assert psu.heard == [b"*IDN?", b"ALL?", b"-1", b"\x1b"]
    *lines, last = shown.splitlines()
    assert lines == ["> *IDN?", "< ACME,PSU,1.0", "> ALL?", "< 1", "< 2", "> -1", r"> \x1b"]
    assert re.fullmatch(rf"\d+ events in {file}", last)
    assert read_recording(file).sent == b"*IDN?\r\nALL?\r\n-1\r\n\x1b\r\n"
    assert read_recording(file).said == b"".join(ANSWERS.values())


def test_lines_of_a_pipe_are_commands(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with PtyInstrument(replies(ANSWERS), terminator=b"\r\n") as psu:
        args = ["record", psu.port, "--terminator", r"\r\n", "--out", str(file)]
        shown = subprocess.run([*COMMAND, *args], input="*IDN?\n", stdout=subprocess.PIPE, text=True, check=True)
    assert shown.stdout.splitlines()[:2] == ["> *IDN?", "< ACME,PSU,1.0"]


def read(number: int, until: bytes) -> bytes:
    """What a terminal shows until it shows that."""
    shown, give_up = b"", time.monotonic() + 10
    while until not in shown and time.monotonic() < give_up:
        ready, _, _ = select.select([number], [], [], 0.1)
        shown += os.read(number, 4096) if ready else b""
    assert until in shown, shown
    return shown


def test_on_a_terminal_what_is_typed_is_sent_and_what_is_heard_is_shown_until_ctrl_c(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    ours, theirs = os.openpty()
    try:
        with PtyInstrument(replies(ANSWERS), terminator=b"\r\n") as psu:
            args = ["record", psu.port, "--terminator", r"\r\n", "--out", str(file)]
            with subprocess.Popen([*COMMAND, *args], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as record:
                try:
                    os.write(ours, b"*IDN?\n")
                    read(ours, b"< ACME,PSU,1.0")
                    os.write(ours, b"\\q\n*ID")
                    read(ours, b"not sent: there is no '\\\\q'")
                    os.write(ours, b"N?\n")
                    read(ours, b"< ACME,PSU,1.0")
                    psu.send(b"ALARM\r\n")
                    read(ours, b"< ALARM")
                    record.send_signal(signal.SIGINT)
                    read(ours, b"events in")
                    _, said = record.communicate(timeout=5)
                    assert (record.returncode, said) == (0, b"")
                finally:
                    # Where it did not come to that: nothing else would end it.
                    record.kill()
    finally:
        os.close(ours)
        os.close(theirs)
    assert read_recording(file).said.endswith(b"ALARM\r\n")
    assert read_recording(file).events[-1].note == "closed: it was stopped"


def test_listening_sends_nothing(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with PtyInstrument() as psu, Child(CLI, "record", psu.port, "--listen", "--out", file) as child:
        while not file.exists() or "open:" not in file.read_text():
            time.sleep(0.01)
        psu.send(b"ALARM\n")
        assert child.line() == "< ALARM"
        child.signal(signal.SIGINT)
        finished = child.finish(code=0)
        assert (finished.stderr, psu.heard) == ("", [])
    assert read_recording(file).said == b"ALARM\n"


def test_a_lost_instrument_ends_a_recording_and_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with PtyInstrument() as psu, Child(CLI, "record", psu.port, "--listen", "--out", file) as child:
        psu.send(b"ALARM\n")
        while not file.exists() or "open:" not in file.read_text():
            time.sleep(0.01)
        psu.unplug()
        finished = child.finish(code=1)
    assert finished.stderr.count("is gone") == 1, finished.stderr
    assert "Traceback" not in finished.stderr


# -- transcript --------------------------------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Of a conversation with a simulated balance."""
    file = tmp_path / "scale.jsonl"
    with lt.link("sim://balance").sync as link, link.record(file):
        link.query("S")
        link.query("I4")
        with link.exchange() as talk:
            talk.send("SI")
            talk.receive()
        link.send(lt.Raw(b"@"))
        link.send("")
        link.receive()
    return file


def test_a_recording_is_printed_as_a_transcript(recording: Path) -> None:
    shown = labtether("transcript", recording).stdout
    transcript = parse_transcript(shown)
    assert transcript == read_recording(recording).transcript()
    lines = shown.splitlines()
    assert lines[:2] == ["= name balance", r'= framing "\r\n"']
    assert lines[2].startswith("# recorded 20")
    assert lines[3] == "> S"
    assert lines[4].startswith("~ ")
    assert lines[5] == "< S S   42.00000 g"
    again = recording.with_suffix(".transcript")
    again.write_text(shown)
    assert labtether("transcript", again).stdout == shown
    assert "~" not in labtether("transcript", recording, "--pause", "10").stdout


@pytest.mark.parametrize("framed", [True, False])
def test_the_test_that_is_printed_passes(recording: Path, framed: bool) -> None:
    if not framed:
        text = recording.read_text().replace('"ends":', '"was":')
        recording.write_text(text)
    shown = labtether("transcript", recording, "--pytest").stdout
    test = recording.with_name("test_scale.py")
    test.write_text(shown)
    assert ("assert link.query('I4') == 'I4 A \"B021002593\"'" in shown) == framed
    assert run_pytest(test)[0] == "1 passed"
    test.write_text(re.sub("(link.query|link.write)(.*)I4", r"\1\2I5", shown))
    assert run_pytest(test)[0] == "1 failed"


def test_what_a_file_cannot_tell_is_said_on_stderr(tmp_path: Path) -> None:
    file = tmp_path / "test_psu.jsonl"
    file.write_text('{"test_a": {"tx": [65, 10], "rx": [66, 10]}}')
    finished = run_child(CLI, "transcript", file, "--terminator", r"\n")
    assert finished.stdout.splitlines()[1:] == ["# test_a, recorded by pytest-reserial", "> A", "< B"]
    assert finished.stderr.startswith(f"labtether: {file} [test_a] does not say when anything was sent or said")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.transcript", "> A\nB", "a.transcript:2: a line begins with one of"),
        ("a.jsonl", '{"labtether": 1}\n{"t": 0}\n', "a.jsonl:2: dir is"),
        ("a.jsonl", "{}", "a.jsonl has no tests in it"),
        ("a.txt", b"\xff", "this is not text"),
        ("none", None, "No such file or directory"),
    ],
)
@pytest.mark.parametrize("command", ["transcript", "simulate"])
def test_a_file_that_is_none_is_status_1_and_says_where(
    tmp_path: Path, command: str, name: str, content: str | bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    finished = labtether(command, tmp_path / name, code=1)
    assert finished.stdout == ""
    assert finished.stderr.startswith("labtether: ")
    assert why in finished.stderr
    assert finished.stderr.count("\n") == 1


# -- simulate ----------------------------------------------------------------------------------------------------------


def test_a_recording_is_served_on_a_pseudo_terminal_until_ctrl_c(recording: Path) -> None:
    with Child(CLI, "simulate", recording) as child:
        name, port = child.line().split(" is at ")
        assert name == "balance"
        with serial.Serial(port, timeout=10) as host:
            for _ in range(2):
                host.write(b"S\r\nI4\r")
                host.write(b"\n")
                assert host.read_until(b'593"\r\n') == b'S S   42.00000 g\r\nI4 A "B021002593"\r\n'
                host.write(b"SI\r\n@\r\n")
                host.read_until(b"\r\n")
                host.read_until(b"\r\n")
        shown = [child.line() for _ in range(4)]
        assert any(line.split(maxsplit=1)[1] == r"< I4 A \"B021002593\"\r\n".replace(r"\"", '"') for line in shown), (
            shown
        )
        child.signal(signal.SIGINT)
        finished = child.finish(code=0)
        assert (finished.stderr, Path(port).exists()) == ("", False)


def test_a_program_that_was_stopped_in_the_middle_can_be_started_again(recording: Path) -> None:
    with Child(CLI, "simulate", recording, "--pace", "0") as child:
        port = child.line().split(" is at ")[1]
        for _ in range(2):
            with serial.Serial(port, timeout=10) as host:
                host.write(b"S\r\n")
                assert host.read_until(b"\n") == b"S S   42.00000 g\r\n"
        while "the host has begun again" not in child.line():
            pass
        child.signal(signal.SIGINT)
        child.finish(code=0)


def test_a_transcript_is_served_over_tcp(tmp_path: Path) -> None:
    file = tmp_path / "psu.transcript"
    file.write_text('= name psu\n= framing "\\n"\n< READY\n> A\n~ 40s\n< B\n')
    with Child(CLI, "simulate", file, "--transport", "tcp", "--pace", "0") as child:
        port = int(child.line().rsplit(":", 1)[1])
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port)) as host:
                assert host.recv(100) == b"READY\n"
                host.sendall(b"A\n")
                assert host.recv(100).startswith(b"B\n")
                host.sendall(b"C\n")
        lines: list[str] = []
        while not any("^" in line for line in lines):
            lines.append(child.line())
        assert any(line.endswith("> A\\n") for line in lines)
        assert any("the host sent something else at byte 2" in line for line in lines)
        child.signal(signal.SIGINT)
        assert child.finish(code=0).stderr == ""


def test_a_device_of_pyvisa_sim_is_served(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "devices.yaml"
    file.write_text(
        'spec: "1.1"\ndevices:\n  psu:\n    dialogues:\n      - {q: "*IDN?", r: "SCPI,MOCK"}\n  other: {}\n'
    )
    assert "has 2 devices, name one: psu, other" in labtether("simulate", file, code=1).stderr
    with Child(CLI, "simulate", file, "--device", "psu") as child:
        port = child.line().split(" is at ")[1]
        assert labtether("query", port, "*IDN?").stdout == "SCPI,MOCK\n"
        child.signal(signal.SIGINT)
        child.finish(code=0)


# -- manners -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["record", "sim://balance"], "--out"),
        (["record", "--out", "x"], "PORT"),
        (["record", "sim://toaster", "--out", "x"], "no simulated instrument"),
        (["record", "sim://balance", "--out", "/dev/null", "--listen", "--", "S"], "--listen sends nothing"),
        (["record", "sim://balance", "--out", "/dev/null", "--", r"\q"], r"there is no '\\q'"),
        (["record", "sim://balance", "--out", "/dev/null", "--", "S\r\n"], "cannot be seen here"),
        (["transcript"], "FILE"),
        (["transcript", "x", "--pause", "-1"], "--pause is not negative"),
        (["simulate", "x", "--transport", "usb"], "invalid choice"),
        (["simulate", "x", "--port", "5025"], "--port is for --transport tcp"),
        (["simulate", "x", "--port", "70000", "--transport", "tcp"], "between 0 and 65535"),
        (["simulate", "x", "--pace", "-1"], "--pace is not negative"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(args: list[str], why: str) -> None:
    finished = labtether(*args, code=2)
    assert finished.stderr.startswith("usage: labtether")
    assert why in finished.stderr.splitlines()[-1]
    assert finished.stdout == ""


def test_a_recording_that_cannot_be_written_is_status_1(tmp_path: Path) -> None:
    finished = labtether("record", "sim://balance", "--out", tmp_path / "none" / "x", "--", "S", code=1)
    assert "No such file or directory" in finished.stderr


def test_help_tells_how_a_transcript_is_written() -> None:
    for command in ("record", "transcript", "simulate"):
        assert f"usage: labtether {command}" in labtether(command, "--help").stdout
        assert command in labtether("--help").stdout
    assert "~ 300ms                silence before what follows" in labtether("transcript", "--help").stdout
