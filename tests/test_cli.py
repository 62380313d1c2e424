"""The command line, as a shell sees it: what it prints where, and its exit status."""

import errno
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import labtether as lt
from support import Child, Finished, PtyInstrument, Reply, replies, run_child

CLI = "import runpy; runpy.run_module('labtether', run_name='__main__', alter_sys=True)"
COMMAND = [sys.executable, "-W", "error", "-m", "labtether"]


def labtether(*args: str, code: int = 0) -> Finished:
    """Run `python -m labtether` to its end. It never shows a traceback."""
    finished = run_child(CLI, *args, code=code)
    assert "Traceback" not in finished.stderr, finished.stderr
    if code == 0:
        assert finished.stderr == ""
    return finished


# -- demo --------------------------------------------------------------------------------------------------------------


def test_the_demo_shows_every_step_and_leaves_nothing_open() -> None:
    shown = labtether("demo").stdout
    steps = [
        r"switched on a simulated balance, on the pseudo-terminal /dev/",
        r"opened it: <Link balance .* 9600 8N1 open>",
        r"""asked its identity: I4 -> 'I4 A "B021002593"'""",
        r"weighed: S -> 42\.00000 g",
        r"1\.\d of 2\.0 s: \d+ readings, 4\d\.\d{5} g",
        r"streamed SI every 0\.1 s: \d+ readings, mean 4\d\.\d{5} g",
        r"cancelled a slow S after 0\.05 s: its await ended \d+\.\d ms later",
        r"asked I4 next: 'I4 A .*' is the right answer; before it, the late 'S S   42\.00000 g' was dropped",
        r"asked what it does not answer: LinkTimeout: balance: no reply to 'QUIET' within 0\.3 s",
        r"unplugged it: LinkLost: balance is gone",
        r"plugged in again, on /dev/.*, and set it up again",
        r"weighed: S -> 42\.00000 g",
        r"stopped: the link is closed",
        r"nothing is left open: descriptors (\d+) before, \1 after; threads (\d+) before, \2 after; "
        r"asyncio tasks 1 before, 1 after",
        r"\(labtether's own, in both counts, until the process ends: 1 runtime thread, 1 log thread\)",
    ]
    lines = shown.splitlines()
    for step in steps:
        here = next((number for number, line in enumerate(lines) if re.search(step, line)), None)
        assert here is not None, f"no {step!r} (in this order) in\n{shown}"
        lines = lines[here + 1 :]
    assert lines == []
    assert "\x1b" not in shown, "control sequences are for terminals"
    assert "\r" not in shown
    assert times(shown)["streamed"] == pytest.approx(2000, abs=500)
    assert times(shown)["cancelled"] < 350, "the await waited for the balance"


def times(shown: str) -> dict[str, float]:
    """The first word of each step, and its milliseconds."""
    return {word: float(spent) for spent, word in re.findall(r"^ *([\d.]+) ms  (\w+)", shown, re.MULTILINE)}


def test_the_demo_says_what_is_left_open() -> None:
    careless = """
        import asyncio, os, threading
        from labtether import _demo

        def careless(converse):
            async def ask(*args):
                before, _ = await converse(*args)
                threading.Thread(target=lambda: os.read(os.pipe()[0], 1), name="forgotten", daemon=True).start()
                keep.append(asyncio.create_task(asyncio.sleep(60)))
                return before, len(asyncio.all_tasks())
            return ask

        keep = []
        _demo._ask = careless(_demo._ask)
    """
    args = ["demo", "--port", "sim://balance", "--command", "I4"]
    finished = run_child(textwrap.dedent(careless) + CLI, *args, code=1)
    left = re.search("left open: (.*): descriptors", finished.stdout)
    assert left, finished.stdout
    assert "thread 'forgotten'" in left[1]
    assert left[1].count("descriptor of pipe:") == 2
    assert "an asyncio task" in left[1]
    assert "nothing is left open" not in finished.stdout


def test_the_demo_asks_a_real_instrument() -> None:
    with PtyInstrument(replies({b"S": b"S S      1.00 g\r"}), terminator=b"\r") as scale:
        args = ["--port", scale.port, "--baudrate", "2400", "--command", "S", "--terminator", r"\r"]
        shown = labtether("demo", *args).stdout
        assert scale.heard == [b"S"]
    for step in (
        "opened serial://",
        "asked 'S': 'S S      1.00 g'",
        "stopped: the link is closed",
        "nothing is left open",
    ):
        assert step in shown


def test_the_demo_tells_why_a_real_instrument_cannot_be_asked() -> None:
    finished = labtether("demo", "--port", "/dev/nowhere", "--command", "S", code=1)
    assert finished.stderr.startswith("labtether: cannot open /dev/nowhere: there is no such port")
    with PtyInstrument() as scale:
        finished = labtether("demo", "--port", scale.port, "--command", "S", "--timeout", "0.1", code=1)
        assert "no reply to 'S' within 0.1 s" in finished.stderr
        assert "stopped: the link is closed" in finished.stdout


def test_on_a_terminal_the_demo_shows_progress_in_place_and_can_be_interrupted() -> None:
    ours, theirs = os.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm"}
        with subprocess.Popen(
            [*COMMAND, "demo"], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment
        ) as demo:
            shown = b""
            give_up = time.monotonic() + 10
            while shown.count(b"\r ") < 3 and time.monotonic() < give_up:
                ready, _, _ = select.select([ours], [], [], 0.1)
                shown += os.read(ours, 4096) if ready else b""
            assert re.search(rb"\r +\d\.\d of 2\.0 s: +\d+ readings, 4\d\.\d{5} g\x1b\[K\r +", shown), shown
            demo.send_signal(signal.SIGINT)
            _, said = demo.communicate(timeout=2)
            assert demo.returncode == 130
            assert said == b""
    finally:
        os.close(ours)
        os.close(theirs)


# -- query -------------------------------------------------------------------------------------------------------------


def test_a_query_prints_the_reply_and_nothing_else() -> None:
    assert labtether("query", "sim://balance", "S").stdout == "S S   42.00000 g\n"
    with PtyInstrument(lambda command: b"you said " + command + b"\r\n") as scale:
        assert labtether("query", scale.port, "*IDN?").stdout == "you said *IDN?\n"
        assert labtether("query", f"serial://{scale.port}", "--", "-1").stdout == "you said -1\n"


def test_a_query_takes_the_settings_of_the_line() -> None:
    def speed(_command: bytes) -> Reply:
        assert isinstance(instrument._line, int)
        return b"%d baud" % baudrate(instrument._line) + instrument.terminator

    with PtyInstrument(speed, terminator=b"\t>") as instrument:
        args = ["--baudrate", "250000", "--terminator", r"\t\x3e", "--timeout", "3"]
        assert labtether("query", instrument.port, "?", *args).stdout == "250000 baud\n"


def baudrate(number: int) -> int:
    """The speed of a terminal, which may be any: Linux's TCGETS2, where tcgetattr knows a list of them only."""
    termios2 = bytearray(44)
    fcntl.ioctl(number, 0x802C542A, termios2)
    return int.from_bytes(termios2[40:44], sys.byteorder)


def test_a_raw_query_writes_the_bytes_of_the_reply() -> None:
    every = bytes(range(256)).replace(b"\n", b"")
    with PtyInstrument(replies({b"DUMP": every + b"\n"})) as scale:
        raw = subprocess.run([*COMMAND, "query", "--raw", scale.port, "DUMP"], stdout=subprocess.PIPE, check=True)
        assert raw.stdout == every
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        text = subprocess.run(
            [*COMMAND, "query", scale.port, "DUMP"], stdout=subprocess.PIPE, check=True, env=environment
        )
        assert rb"\xb5" in text.stdout, "what the terminal cannot show is escaped"


def test_a_query_that_gets_no_reply_tells_what_was_on_the_wire() -> None:
    finished = labtether("query", "sim://balance", "QUIET", "--timeout", "0.1", code=1)
    assert finished.stdout == ""
    first, *notes = finished.stderr.splitlines()
    assert first == "labtether: balance: no reply to 'QUIET' within 0.1 s; nothing was heard"
    assert notes[0] == "  last on the wire of balance:"
    assert any(r"> 'QUIET\r\n'" in note for note in notes)


def test_a_query_to_a_port_that_is_not_there_tells_so_in_one_line() -> None:
    for port, why in {
        "/dev/nowhere": "cannot open /dev/nowhere: there is no such port",
        "tcp://127.0.0.1:1": "cannot open 127.0.0.1:1",
    }.items():
        finished = labtether("query", port, "S", code=1)
        assert finished.stdout == ""
        assert finished.stderr.startswith(f"labtether: {why}"), finished.stderr
        assert finished.stderr.count("\n") == 1


def test_a_lost_link_is_told_once() -> None:
    with PtyInstrument() as scale, Child(CLI, "query", scale.port, "S", "--timeout", "30") as child:
        scale.wait_heard()
        scale.unplug()
        finished = child.finish(code=1)
    assert finished.stderr.count("is gone") == 1, finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_setting_that_is_left_out_is_told() -> None:
    with PtyInstrument(lambda _: b"1\n") as scale:
        finished = run_child(CLI, "query", scale.port, "?", "--parity", "E")
    assert finished.stdout == "1\n"
    assert finished.stderr.startswith("labtether: ")
    assert "parity" in finished.stderr


def test_an_interrupted_query_ends_at_once_and_quietly() -> None:
    with PtyInstrument() as scale, Child(CLI, "query", scale.port, "S", "--timeout", "60") as child:
        scale.wait_heard()
        child.signal(signal.SIGINT)
        finished = child.finish(code=130)
        assert finished.seconds < 2
        assert (finished.stdout, finished.stderr) == ("", "")


# -- ports -------------------------------------------------------------------------------------------------------------


def test_ports_are_listed_one_on_each_line() -> None:
    found = run_child(CLI, "ports", code=None)
    expected = "".join(f"{port}\n" for port in lt.ports())
    assert (found.stdout, found.returncode) == (expected, 0 if expected else 1)


def test_a_machine_without_ports_is_told_so() -> None:
    finished = run_child(f"import labtether; labtether.ports = lambda: []; {CLI}", "ports", code=1)
    assert (finished.stdout, finished.stderr) == ("", "labtether: no serial ports found\n")


def test_a_usb_port_is_listed_with_its_identity() -> None:
    one = "labtether.PortInfo('/dev/ttyUSB0', 'ttyUSB0', 'Scale', vid=0x403, pid=0x6001, serial_number='A1')"
    finished = run_child(f"import labtether; labtether.ports = lambda: [{one}]; {CLI}", "ports")
    assert finished.stdout == "/dev/ttyUSB0  Scale [0403:6001 A1]\n"


# -- manners -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ([], "required"),
        (["weigh"], "invalid choice"),
        (["query", "sim://balance"], "required: COMMAND"),
        (["query", "", "S"], "port is empty"),
        (["query", "sim://toaster", "S"], "no simulated instrument"),
        (["query", "gpib://7", "S"], "there are no gpib:// links"),
        (["query", "sim://balance", "S", "--baudrate", "9600"], "no option 'baudrate'"),
        (["query", "sim://balance", "S\r\n"], "the link adds"),
        (["query", "sim://balance", "S", "--timeout", "-1"], "not negative"),
        (["query", "sim://balance", "S", "--terminator", ""], "at least one byte"),
        (["query", "sim://balance", "S", "--terminator", r"\q"], r"there is no '\\q'"),
        (["query", "/dev/ttyUSB0", "S", "--bytesize", "9"], "bytesize is 5, 6, 7 or 8"),
        (["demo", "--command", "S"], "give its --port"),
        (["demo", "--port", "/dev/ttyUSB0"], "needs a --command"),
        (["demo", "--port", "sim://balance", "--command", "S\r\n"], "the link adds"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(args: list[str], why: str) -> None:
    finished = labtether(*args, code=2)
    assert finished.stderr.startswith("usage: labtether")
    assert why in finished.stderr
    assert "labtether" in finished.stderr.splitlines()[-1]
    if not args or args[0] != "demo":
        assert finished.stdout == ""


def test_help_and_version_go_to_the_output() -> None:
    assert labtether("--version").stdout == f"labtether {lt.__version__}\n"
    for command in ("demo", "ports", "query"):
        assert command in labtether("--help").stdout
        assert f"usage: labtether {command}" in labtether(command, "--help").stdout


@pytest.mark.parametrize("args", [["query", "sim://balance", "I4"], ["demo"], ["--help"]], ids=lambda args: args[0])
def test_when_nobody_reads_it_ends_quietly(args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = writing_to(writer, *args)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_when_the_output_cannot_be_written_it_says_so() -> None:
    with open("/dev/full", "w") as full:
        ended = writing_to(full.fileno(), "query", "sim://balance", "I4")
    assert ended.returncode == 1
    assert ended.stderr == f"labtether: {OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))}\n"


def writing_to(output: int, *args: str) -> subprocess.CompletedProcess[str]:
    """Run it as a shell does: its output is buffered, so that some is left for the interpreter's own end."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [*COMMAND, *args], stdout=output, stderr=subprocess.PIPE, text=True, timeout=10, env=environment
    )
