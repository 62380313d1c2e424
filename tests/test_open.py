"""Ports that do not open: every kind of OpenFailed, LinkBusy for our own, and nothing left behind."""

from __future__ import annotations

import fcntl
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import labtether as lt
from support import PtyInstrument, run_child


async def kind_of(link: lt.Link[str]) -> lt.OpenFailed:
    with pytest.raises(lt.OpenFailed) as caught:
        await link.setup()
    assert link.state == "closed"
    assert isinstance(caught.value, OSError)
    await link.stop()
    return caught.value


async def test_a_port_that_is_not_there_is_missing() -> None:
    error = await kind_of(lt.serial("/dev/ttyNOT_HERE", name="psu"))
    assert (error.kind, error.link, error.port) == ("missing", "psu", "/dev/ttyNOT_HERE")
    assert error.errno == 2
    assert "no such port" in str(error)


async def test_an_adapter_that_is_not_there_is_missing() -> None:
    error = await kind_of(lt.serial(lt.Usb(vid=0x1209, pid=0x7E57, serial_number="NOT HERE")))
    assert error.kind == "missing"
    assert "1209" in str(error)


async def test_a_port_that_another_process_holds_is_in_use() -> None:
    with PtyInstrument() as instrument:
        held = os.open(instrument.port, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            error = await kind_of(lt.serial(instrument.port))
        finally:
            os.close(held)
        assert error.kind == "in_use"


async def test_a_file_is_no_port(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("not a port")
    assert (await kind_of(lt.serial(file))).kind == "unsupported"


async def test_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    error = await kind_of(lt.tcp("127.0.0.1", number))
    assert error.kind == "refused"
    assert error.errno == 111


async def test_a_host_without_an_address_is_missing() -> None:
    assert (await kind_of(lt.tcp("nonexistent.invalid", 5025))).kind == "missing"


async def test_a_server_that_does_not_answer_is_refused_after_connect_timeout() -> None:
    # A full backlog on Linux leaves further connections unanswered.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        error = await kind_of(lt.tcp(address[0], address[1], connect_timeout=0.1))
        for one in waiting:
            one.close()
    assert error.kind == "refused"
    assert "0.1 s" in str(error)


def test_a_port_without_permission_names_the_group() -> None:
    if os.getuid() != 0:
        pytest.fail("this test needs root to become somebody else")
    with PtyInstrument() as instrument:
        os.chmod(instrument.port, 0o600)
        done = run_child(
            """
            import os, sys
            import labtether as lt
            os.setgid(65534); os.setuid(65534)
            try:
                lt.serial(sys.argv[1]).sync.setup()
            except lt.OpenFailed as error:
                print(error.kind, error.errno, error)
            """,
            instrument.port,
        )
    assert done.stdout.startswith("permission 13")
    assert "group" in done.stdout


async def test_our_own_link_on_the_same_port_is_busy_and_named() -> None:
    with PtyInstrument() as instrument:
        async with lt.serial(instrument.port, name="scale"):
            other = lt.serial(instrument.port, name="other")
            with pytest.raises(lt.LinkBusy) as caught:
                await other.setup()
            assert "scale" in str(caught.value)
            assert "test_open.py" in str(caught.value)
            with pytest.raises(lt.LinkBusy):
                async with other:
                    pytest.fail("it was entered")


async def test_replace_stops_an_idle_link_on_the_same_port() -> None:
    with PtyInstrument() as instrument:
        first = await lt.serial(instrument.port, name="first").setup()
        second = await lt.serial(instrument.port, name="second").setup(replace=True)
        assert (first.state, second.state) == ("closed", "open")
        await second.stop()
        await first.stop()


async def test_shared_ports_can_be_opened_twice_by_other_processes() -> None:
    with PtyInstrument() as instrument:
        async with lt.serial(instrument.port, exclusive=False):
            code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY), fcntl.LOCK_SH)"
            subprocess.run([sys.executable, "-c", code, instrument.port], check=True, timeout=20)


async def test_a_pseudo_terminal_without_parity_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with PtyInstrument(lambda command: b"ok\n", terminator=b"\n") as instrument:
        async with lt.serial(instrument.port, bytesize=7, parity="E") as link:
            assert await link.query("S") == "ok"
    assert "parity" in caplog.text


def test_errors_can_be_pickled() -> None:
    error = lt.OpenFailed("no", kind="missing", errno=2, link="psu")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, copy.errno, copy.link, str(copy)) == ("missing", 2, "psu", "no")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(lt.link("sim://balance"))
