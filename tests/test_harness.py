"""The harness itself: a gate that has never closed proves nothing."""

import os
import select
import signal
import socket
import threading
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from labtether.testing._leaks import Holding, left_open
from support import Child, LoopCounter, PtyInstrument, Reply, TcpInstrument, assert_no_panic, replies, run_child


def exchange(number: int, command: bytes, length: int, timeout: float = 5.0) -> bytes:
    """A plain conversation over a descriptor, for want of a link."""
    os.write(number, command)
    return hear(number, length, timeout)


def hear(number: int, length: int, timeout: float = 5.0) -> bytes:
    heard = b""
    while len(heard) < length:
        ready, _, _ = select.select([number], [], [], timeout)
        assert ready, f"only {heard!r}"
        part = os.read(number, length - len(heard))
        if not part:
            break
        heard += part
    return heard


async def test_async_tests_run_on_every_backend(backend: str) -> None:
    with LoopCounter() as loop:
        await anyio.sleep(0.01)
    assert {"asyncio": "_UnixSelectorEventLoop", "uvloop": "Loop", "trio": ""}[backend] == running_loop()
    loop.assert_calm()


@pytest.mark.asyncio_only
async def test_a_mark_leaves_trio_out(backend: str) -> None:
    assert backend in ("asyncio", "uvloop")


@pytest.mark.backends("trio", "asyncio")
async def test_a_mark_picks_backends(backend: str) -> None:
    assert backend in ("trio", "asyncio")


def running_loop() -> str:
    import asyncio

    try:
        return type(asyncio.get_running_loop()).__name__
    except RuntimeError:
        return ""


async def test_a_spinning_loop_is_noticed(backend: str) -> None:
    with LoopCounter() as loop:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            await anyio.lowlevel.checkpoint()
    with pytest.raises(AssertionError):
        loop.assert_calm()
    assert (loop.turns is None) == (backend == "uvloop")


def test_a_pty_instrument_answers_late_and_in_parts() -> None:
    def weigh(command: bytes) -> Reply:
        return [(0.05, b"1.2"), (0.05, b"3\r\n")] if command == b"S" else b"? " + command + b"\r\n"

    with PtyInstrument(weigh, terminator=b"\r\n") as balance:
        port = os.open(balance.port, os.O_RDWR | os.O_NOCTTY)
        start = time.monotonic()
        assert exchange(port, b"S\r", 0) == b""
        assert exchange(port, b"\n", 6) == b"1.23\r\n"
        assert time.monotonic() - start >= 0.1
        assert exchange(port, b"T\r\n", 5) == b"? T\r\n"
        balance.send(b"unasked", after=0.01)
        assert hear(port, 7) == b"unasked"
        assert balance.wait_heard(2) == [b"S", b"T"]
        assert balance.wait_received(6) == b"S\r\nT\r\n"
        os.close(port)


def test_a_stalled_pty_takes_no_byte_until_it_reads_again() -> None:
    with PtyInstrument(replies({b"S": b"1\n"})) as balance:
        port = os.open(balance.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        # The kernel moves bytes on in the background, and then has room again.
        taken, more = 0, balance.fill()
        while taken < more:
            time.sleep(0.01)
            taken, more = more, balance.fill()
        assert taken > 1000
        with pytest.raises(BlockingIOError):
            os.write(port, b"S\n")
        with pytest.raises(TimeoutError):
            balance.wait_heard(1, timeout=0.05)
        balance.resume()
        assert select.select([], [port], [], 5.0)[1]
        assert exchange(port, b"S\n", 2) == b"1\n"
        assert balance.heard == [b"S"]
        os.close(port)


def test_an_unplugged_pty_is_gone_and_comes_back_under_its_name(tmp_path: Path) -> None:
    with PtyInstrument(replies({b"S": b"1\n"}), at=tmp_path / "tty") as balance:
        port = os.open(balance.port, os.O_RDWR | os.O_NOCTTY)
        balance.unplug()
        with pytest.raises(OSError, match="Input/output error"):
            os.write(port, b"S\n")
        os.close(port)
        with pytest.raises(FileNotFoundError):
            os.open(balance.port, os.O_RDWR | os.O_NOCTTY)
        balance.replug()
        port = os.open(balance.port, os.O_RDWR | os.O_NOCTTY)
        assert exchange(port, b"S\n", 2) == b"1\n"
        os.close(port)


def test_a_tcp_instrument_answers_hangs_up_and_resets() -> None:
    with TcpInstrument(replies({b"S": b"1\n"})) as balance:
        with socket.create_connection((balance.host, balance.port)) as line:
            assert exchange(line.fileno(), b"S\n", 2) == b"1\n"
            balance.hang_up()
            assert hear(line.fileno(), 1) == b""
        with socket.create_connection((balance.host, balance.port)) as line:
            balance.send(b"unasked")
            assert hear(line.fileno(), 7) == b"unasked"
            balance.reset()
            with pytest.raises(ConnectionResetError):
                hear(line.fileno(), 1)
        balance.unplug()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((balance.host, balance.port))
        balance.replug()
        with socket.create_connection((balance.host, balance.port)) as line:
            assert exchange(line.fileno(), b"S\n", 2) == b"1\n"


async def test_until_heard_leaves_the_loop_free() -> None:
    with PtyInstrument() as balance:
        port = os.open(balance.port, os.O_RDWR | os.O_NOCTTY)
        async with anyio.create_task_group() as tasks:

            async def ask_later() -> None:
                await anyio.sleep(0.05)
                os.write(port, b"S\n")

            tasks.start_soon(ask_later)
            assert await balance.until_heard() == [b"S"]
        os.close(port)


def test_a_failing_handler_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="handler"), PtyInstrument(lambda _: bytes(int("x"))) as balance:
        port = os.open(balance.port, os.O_RDWR | os.O_NOCTTY)
        os.write(port, b"S\n")
        balance.wait_heard()
        os.close(port)


def test_the_leak_gate_names_descriptors_and_threads() -> None:
    before = Holding.now()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    left, right = socket.socketpair()
    copy = os.dup(left.fileno())
    found = left_open(before, patience=0.05)
    assert "3 x a pair of sockets" in found, found
    assert "thread 'forgotten'" in found
    end.set()
    thread.join()
    left.close()
    right.close()
    assert len(left_open(before, patience=0.05)) == 1, "a copy of a descriptor counts"
    os.close(copy)
    assert left_open(before) == []


def test_the_leak_gate_collects_garbage_and_waits_for_endings_under_way() -> None:
    before = Holding.now()
    threading.Thread(target=time.sleep, args=(0.2,), name="on its way out").start()
    assert left_open(before) == []


def test_a_child_is_heard_signalled_and_timed() -> None:
    code = """
        import sys, time
        print("ready", sys.argv[1], input())
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted")
            sys.exit(3)
    """
    with Child(code, "x") as child:
        child.say("now")
        assert child.line() == "ready x now"
        time.sleep(0.05)  # into the sleep
        child.signal(signal.SIGINT)
        finished = child.finish(code=3)
    assert finished.stdout == "interrupted\n"
    assert finished.seconds < 2


def test_a_child_that_fails_or_warns_or_hangs_is_told_of() -> None:
    with pytest.raises(AssertionError, match="exit code 1"):
        run_child("import warnings; warnings.warn('old')")
    with pytest.raises(AssertionError, match="did not end"):
        run_child("import time; time.sleep(60)", timeout=0.5)
    with pytest.raises(AssertionError, match="panic"):
        run_child("import sys; print(\"thread 'labtether' panicked at src\", file=sys.stderr)")
    with pytest.raises(AssertionError, match="panic"):
        assert_no_panic("thread 'x' panicked at src/lib.rs:1:1")
    assert run_child("from support import PtyInstrument").returncode == 0


def test_the_gates_fail_the_test_that_left_something_open(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    tmp_path.joinpath("conftest.py").write_text(tests.joinpath("conftest.py").read_text("utf-8"), "utf-8")
    tmp_path.joinpath("test_leaks.py").write_text(
        "import os, pytest\n"
        "def test_careless() -> None: os.pipe()\n"
        "def test_tidy() -> None: os.close(os.dup(0))\n"
        "@pytest.mark.leaves_open('to show the mark')\n"
        "def test_excused() -> None: os.pipe()\n"
        "async def test_careless_on_each() -> None: os.dup(2)\n",
        "utf-8",
    )
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-c", tests.parent / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider", tmp_path]
    finished = run_child(code, *options, timeout=60, code=1, env={"LABTETHER_LEAK_PATIENCE": "0.1"})
    assert "6 passed, 4 errors" in finished.stdout, finished.stdout
    # Where CI is set pytest says it again in its summary.
    assert finished.stdout.split(" short test summary info ")[0].count("left open:") == 4, finished.stdout
    assert "x pipe:[" in finished.stdout
