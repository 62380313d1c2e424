"""Scripted instruments at the places there are: cables, settings, second hosts, what stays unread; bad arguments."""

import re
import socket

import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument, script
from support.scripts import psu, until, wrong  # noqa: F401  a fixture among them


@pytest.mark.parametrize("transport", ["tcp", "rfc2217", "memory"])
def test_a_greeting_comes_with_the_connection(transport: str) -> None:
    with script(transport=transport, greeting="HELLO") as psu, psu.link(settle=0.0).sync as link:
        assert link.receive(timeout=5) == "HELLO"


def test_switched_off_and_on_it_greets_and_forgets_what_it_was_about_to_say(psu: ScriptedInstrument) -> None:
    with script(transport=psu.transport, greeting="READY") as one, one.link().sync as link:
        if psu.transport != "pty":
            link.receive(timeout=5)
        one.expect("A").reply("never", after=60)
        link.send("A")
        until(lambda: one.heard == ["A"])
        one.power_cycle()
        assert link.receive(timeout=5) == "READY"
        assert not one.standing().owes


async def test_unplugged_and_plugged_in_again_it_is_where_it_was(psu: ScriptedInstrument) -> None:
    psu.when("A").reply("1")
    url, link = psu.url, psu.link(reconnect=lt.Reconnect(first=0.01, factor=1))
    async with link:
        assert await link.query("A") == "1"
        psu.disconnect()
        while link.state != "reconnecting":
            await lt.sleep(0.001)
        with pytest.raises(lt.OpenFailed):
            await psu.link().setup()
        psu.reconnect()
        assert await link.query("A") == "1"
    assert psu.url == url
    assert [event.note for event in psu.wire if "connected" in event.note].count("disconnected") == 1


def test_a_step_may_pull_the_cable_and_put_it_back(psu: ScriptedInstrument) -> None:
    psu.expect("BOOM").reply("OK").disconnect(after=0.01, back=0.01)
    psu.expect("A").reply("1")
    with psu.link(reconnect=lt.Reconnect(first=0.005, factor=1)).sync as link:
        assert link.query("BOOM") == "OK"
        until(lambda: link.state != "open")
        assert link.query("A", idempotent=True, timeout=5) == "1"
    psu.check()


@pytest.mark.parametrize("transport", ["tcp", "rfc2217"])
def test_a_second_host_is_turned_away(transport: str) -> None:
    with script(transport=transport) as psu, psu.link().sync as link:
        psu.when("A").reply("1")
        assert link.query("A") == "1"
        with socket.create_connection(psu.address) as second:
            while second.recv(100):
                pass
        assert link.query("A") == "1"
        assert "a second host was turned away" in [event.note for event in psu.wire]


def test_the_settings_of_the_line_are_seen() -> None:
    with script(transport="rfc2217") as psu:
        with psu.link(baudrate=19200, bytesize=7, parity="E", stopbits=2, rtscts=True).sync:
            settings = psu.settings
        assert settings is not None
        assert (settings.baudrate, settings.bytesize, settings.parity, settings.stopbits) == (19200, 7, "E", 2)
        assert (settings.rtscts, settings.xonxoff) == (True, False)
    with script() as psu:
        with psu.link(baudrate=115200).sync:
            pass
        assert psu.settings is not None
        assert (psu.settings.baudrate, psu.settings.bytesize) == (115200, 8)
    with script(transport="tcp") as psu:
        assert psu.settings is None


def test_where_it_is() -> None:
    with script("a") as a, script("b", transport="tcp") as b, script("c", transport="memory") as c:
        assert (a.address, a.url, a.resource) == (a.port, f"serial://{a.port}", f"ASRL{a.port}::INSTR")
        host, number = b.address
        assert (b.port, b.url) == (f"socket://{host}:{number}", f"tcp://{host}:{number}")
        assert b.resource == f"TCPIP::{host}::{number}::SOCKET"
        assert c.url == "sim://c"
        with pytest.raises(ValueError, match="in memory"):
            _ = c.port
        assert repr(b).startswith("<ScriptedInstrument b on tcp://")
        for one in (a, b, c):
            one.when("A").reply(one.name)
            with lt.link(one.url, framing="\n").sync as link:
                assert link.query("A") == one.name
    assert repr(a).endswith("off>")
    assert a.heard == ["A"]


def test_a_name_in_memory_is_taken_once() -> None:
    with script("m", transport="memory"), pytest.raises(ValueError, match="already"):
        script("m", transport="memory")
    with script("m", transport="memory") as again:
        assert again.url == "sim://m"


def test_a_reply_that_nobody_reads_is_told() -> None:
    with script() as psu:
        psu.expect("A").reply("1").reply("2")
        with open(psu.port, "r+b", buffering=0) as port:
            port.write(b"A\n")
            assert port.read(2) == b"1\n"
            until(lambda: bool(psu.standing().unread))
            assert "not read: '2\\n'" in wrong(psu)
            assert port.read(2) == b"2\n"
        psu.check()


def test_a_reply_that_nobody_waits_for_is_told_and_a_push_is_not() -> None:
    with script() as psu:
        psu.expect("A").reply("1", after=60)
        psu.push("never mind", after=60)
        with open(psu.port, "wb", buffering=0) as port:
            port.write(b"A\n")
            until(lambda: psu.heard == ["A"])
        assert "a reply that nobody waited for" in wrong(psu)
    with script() as psu:
        psu.push("said and not read")
        until(lambda: psu.standing().unread == b"said and not read\n")
        psu.check()


ARGUMENTS = [
    (lambda: script(""), ValueError, "name"),
    (lambda: script(transport="usb"), ValueError, "transport is one of"),
    (lambda: script(transport=1), TypeError, "transport is a str"),  # type: ignore[arg-type]
    (lambda: script(framing=3), TypeError, "framing is"),  # type: ignore[arg-type]
    (lambda: script(framing=lt.Lines("\n", send_terminator="")), ValueError, "end in nothing"),
    (lambda: script(faults=3), TypeError, "faults"),  # type: ignore[arg-type]
    (lambda: script(faults=["late"]), TypeError, "fault"),  # type: ignore[list-item]
    (lambda: script(port=-1), ValueError, "port is at least 0"),
    (lambda: script(greeting=3), TypeError, "str, bytes or Raw"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "kind", "text"), ARGUMENTS)
def test_bad_arguments_are_refused_before_anything_is_there(make, kind, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=text):
        make()


STEPS = [
    (lambda psu: psu.expect(3), TypeError, "a command is"),
    (lambda psu: psu.expect(""), ValueError, "not empty"),
    (lambda psu: psu.expect(re.compile("(?=A)")), ValueError, "lookaround"),
    (lambda psu: psu.expect("A").reply(3), TypeError, "str, bytes or Raw"),
    (lambda psu: psu.expect("A").reply("1", after=-1), ValueError, "after is not negative"),
    (lambda psu: psu.expect("A").reply("1", after=None), TypeError, "after is a number"),
    (lambda psu: psu.expect("A").reply("1\n"), ValueError, "terminator"),
    (lambda psu: psu.expect("A").reply("1", fragments=[0]), ValueError, "sizes"),
    (lambda psu: psu.expect("A").reply("€"), ValueError, "latin-1"),
    (lambda psu: psu.expect("A").times(-1), ValueError, "least"),
    (lambda psu: psu.expect("A").times(3, 2), ValueError, "most is at least"),
    (lambda psu: psu.expect("A").set("v"), ValueError, "no group 'v'"),
    (lambda psu: psu.push("A", after=-1), ValueError, "after"),
    (lambda psu: psu.busy("B"), TypeError, "times= or seconds="),
    (lambda psu: psu.busy("B", times=1, seconds=1), TypeError, "times= or seconds="),
    (lambda psu: psu.state.update({"a b": "c"}), ValueError, "identifier"),
    (lambda psu: psu.state.update({"a": 3}), TypeError, "str"),
]


@pytest.mark.parametrize(("write", "kind", "text"), STEPS)
def test_bad_steps_are_refused_where_they_are_written(write, kind, text) -> None:  # type: ignore[no-untyped-def]
    with script(transport="memory") as psu, pytest.raises(kind, match=text):
        write(psu)


def test_after_stop_it_can_still_be_asked_and_not_used() -> None:
    psu = script(transport="memory")
    psu.expect("A").reply("1")
    with psu.link().sync as link:
        link.query("A")
    psu.stop()
    psu.stop()
    assert psu.heard == ["A"]
    assert len(psu.wire) >= 3
    psu.check()
    with pytest.raises(lt.LinkClosed, match="has been stopped"):
        psu.disconnect()
