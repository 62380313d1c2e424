"""Scripted instruments: what is expected in order, what is known at any time, what is said; at every place there is."""

import re
import threading

import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument, script
from support.scripts import psu, until, wrong  # noqa: F401  a fixture among them


async def test_what_is_expected_comes_in_order_and_is_answered(psu: ScriptedInstrument) -> None:
    psu.expect("*IDN?").reply("ACME,PSU,1.0")
    psu.expect("MEAS?").reply("1.23")
    async with psu.link() as link:
        assert await link.query("*IDN?") == "ACME,PSU,1.0"
        assert await link.query("MEAS?") == "1.23"
    assert psu.heard == ["*IDN?", "MEAS?"]
    psu.check()


async def test_what_does_not_come_is_told(psu: ScriptedInstrument) -> None:
    psu.expect("A").reply("1")
    psu.expect("B").reply("2")
    async with psu.link() as link:
        assert await link.query("A") == "1"
    assert "1 expected and not heard" in wrong(psu)


async def test_what_nobody_expects_is_told_and_not_answered(psu: ScriptedInstrument) -> None:
    psu.expect("A").reply("1")
    async with psu.link(timeout=0.2, drain=0.01) as link:
        with pytest.raises(lt.LinkTimeout):
            await link.query("B")
        assert await link.query("A") == "1"
    assert "'B' came, this was expected:\n    A" in wrong(psu)


def test_what_comes_too_early_is_not_expected_yet() -> None:
    with script("psu", transport="memory") as psu, psu.link(timeout=0.05, drain=0.01).sync as link:
        psu.expect("A").reply("1")
        psu.expect("B").reply("2")
        with pytest.raises(lt.LinkTimeout):
            link.query("B")
        assert link.query("A") == "1"
        assert link.query("B") == "2"
        assert [heard.verdict for heard in psu.report().heard] == ["unexpected", "step", "step"]


def test_what_is_known_is_answered_any_number_of_times_and_at_any_time() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.when(r"VOLT (?P<v>.+)").reply("OK {v}")
        psu.expect("A").reply("1")
        assert [link.query("VOLT 1"), link.query("A"), link.query("VOLT 2")] == ["OK 1", "1", "OK 2"]
        psu.check()


def test_what_is_expected_goes_before_what_is_known() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.when("A").reply("known")
        psu.expect("A").reply("expected")
        assert [link.query("A"), link.query("A")] == ["expected", "known"]


def test_a_block_in_any_order_has_to_be_complete_before_what_follows() -> None:
    with script(transport="memory") as psu, psu.link(timeout=0.05, drain=0.01).sync as link:
        with psu.any_order():
            psu.expect("A").reply("1")
            psu.expect("B").reply("2")
        psu.expect("C").reply("3")
        assert link.query("B") == "2"
        with pytest.raises(lt.LinkTimeout):
            link.query("C")
        assert [link.query("A"), link.query("C")] == ["1", "3"]
        assert len(psu.report().unexpected) == 1


def test_optional_and_repeated_steps() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.expect("A").reply("1").optional()
        psu.expect("B").reply("2").times(2)
        psu.expect("C").reply("3").times(1, None)
        psu.expect("D").reply("4")
        for command, reply in [("B", "2"), ("B", "2"), ("C", "3"), ("C", "3"), ("C", "3"), ("D", "4")]:
            assert link.query(command) == reply
        psu.check()
        psu.expect("E").reply("5").times(2, 3)
        assert link.query("E") == "5"
        assert "E (2 to 3 times)" not in wrong(psu)
        assert psu.report().unmet[0].count == 1


def test_a_setpoint_reads_back() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.state["volt"] = "0.0"
        psu.when(r"VOLT (?P<volt>[\d.]+)").set("volt", last="set {volt}").reply("OK")
        psu.when("VOLT?").reply("{volt}")
        psu.when("LAST?").reply("{last}")
        assert link.query("VOLT?") == "0.0"
        assert link.query("VOLT 3.3") == "OK"
        assert [link.query("VOLT?"), link.query("LAST?")] == ["3.3", "set 3.3"]
        assert dict(psu.state) == {"volt": "3.3", "last": "set 3.3"}
        del psu.state["last"]
        assert link.query("LAST?") == "{last}"
        with pytest.raises(KeyError):
            psu.state["last"]


def test_braces_that_name_nothing_stay_as_they_are() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.when(r"GET (?P<x>\d)").reply('{"x": {x}, "y": {y}}')
        assert link.query("GET 1") == '{"x": 1, "y": {y}}'
        psu.when("B").reply(b"{x}")
        assert link.query("B") == "{x}"


def test_a_function_is_called_with_the_match() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.when(r"ADD (\d+) (\d+)").reply(lambda match: str(int(match[1]) + int(match[2])))
        psu.when(re.compile("echo (.*)", re.IGNORECASE)).reply("first").reply(lambda match: match[1].encode())
        assert [link.query("ADD 2 3"), link.query("ADD 20 30")] == ["5", "50"]
        assert link.query_all("ECHO hi", until=2) == ["first", "hi"]
        psu.check()


def test_a_function_may_say_nothing_and_what_it_raises_is_told() -> None:
    with script(transport="memory") as psu, psu.link(timeout=0.05, drain=0.01).sync as link:
        psu.when("A").reply(lambda _: None)
        psu.when("B").reply(lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
        for command in ("A", "B"):
            with pytest.raises(lt.LinkTimeout):
                link.query(command)
        text = wrong(psu)
        assert "a reply function that raised" in text
        assert "ZeroDivisionError: division by zero" in text
        assert isinstance(psu.report().raised[0][2], ZeroDivisionError)


def test_what_follows_a_function_that_thinks_waits_for_it() -> None:
    thought = threading.Event()
    with script(transport="memory") as psu, psu.link().sync as link:

        def think(_: re.Match[str]) -> str:
            assert thought.wait(5)
            return "thought"

        psu.expect("A").reply("at once").reply(think).reply("after it")
        psu.expect("B").reply("b")
        with link.exchange() as talk:
            talk.send("A")
            assert talk.receive() == "at once"
            talk.send("B")
            thought.set()
            assert [talk.receive() for _ in range(3)] == ["thought", "after it", "b"]
        psu.check()


def test_replies_in_parts_with_their_times_and_pushes() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.expect("MEAS?").reply("1.23", after=0.02, fragments=[1, 2]).push("ALARM", after=0.02)
        assert link.query("MEAS?") == "1.23"
        assert link.receive(timeout=5) == "ALARM"
        said = [event for event in psu.wire if event.direction == "<"]
        assert [event.data for event in said] == [b"1", b".2", b"3\n", b"ALARM\n"]
        heard = next(event for event in psu.wire if event.direction == ">")
        assert said[0].monotonic - heard.monotonic >= 0.02
        assert said[3].monotonic - heard.monotonic >= 0.04
        psu.check()


def test_messages_of_its_own_accord_now_and_as_steps() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.push("now")
        assert link.receive(timeout=5) == "now"
        psu.push("a step before any", after=0.01)
        assert link.receive(timeout=5) == "a step before any"
        psu.expect("A").reply("1")
        psu.push("after A", after=0.01)
        psu.expect("B").reply("2")
        assert link.query("A") == "1"
        assert link.receive(timeout=5) == "after A"
        assert link.query("B") == "2"
        psu.check()


def test_busy_for_a_number_of_commands_and_for_a_time() -> None:
    with script(transport="memory") as psu, psu.link(busy="^BUSY$").sync as link:
        psu.busy("BUSY", times=2)
        psu.expect("A").reply("1")
        assert link.query("A", retries=2, retry_delay=0.001) == "1"
        psu.busy("BUSY", seconds=0.05)
        psu.expect("B").reply("2")
        assert link.query("B", retries=1000, retry_delay=0.01) == "2"
        assert "busy" in [heard.verdict for heard in psu.report().heard]
        psu.check()


def test_what_is_said_to_what_nobody_expects() -> None:
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.otherwise("ERR")
        assert link.query("A") == "ERR"
        assert "1 heard that nobody expected" in wrong(psu)
    with script(transport="memory") as psu, psu.link().sync as link:
        psu.otherwise("ERR", allowed=True)
        assert link.query("A") == "ERR"
        psu.check()


def test_binary_framings_and_checksums() -> None:
    for framing in [
        lt.LengthPrefixed(2),
        lt.Enclosed(b"\x02", b"\x03", escape=b"\x10"),
        lt.ModbusRtu(),
        lt.Slip(),
        lt.Cobs(),
    ]:
        with script(framing=framing, transport="memory") as psu, psu.link().sync as link:
            psu.expect(b"\x01\x03\x00\x10\x00\x01").reply(b"\x01\x03\x02\x12\x34")
            assert link.query(b"\x01\x03\x00\x10\x00\x01") == b"\x01\x03\x02\x12\x34"
            psu.check()
    summed = lt.Lines("\r", checksum=lt.Checksum(lambda body: bytes([sum(body) % 256]), size=1, encode="hex"))
    with script(framing=summed, transport="memory") as psu, psu.link().sync as link:
        psu.when(r"S(?P<n>\d)").reply("got {n}")
        assert link.query("S1") == "got 1"
        psu.check()


def test_two_ends_that_differ() -> None:
    framing = lt.Lines(("\r", ">"), send_terminator="\n")
    with script(framing=framing, transport="memory") as psu, psu.link().sync as link:
        psu.expect("A").reply("1")
        assert link.query("A") == "1"
        assert [event.data for event in psu.wire if event.data] == [b"A\n", b"1\r"]
        psu.expect("B").reply(lt.Raw(b"2>"))
        assert link.query("B") == "2"


def test_raw_bytes_are_a_command_when_the_line_is_silent() -> None:
    with script(framing=None, transport="memory") as psu, psu.link().sync as link:
        psu.expect(b"\x1b\x01").reply(b"\x06")
        link.write(b"\x1b\x01")
        assert link.read(1, timeout=5) == b"\x06"
        psu.check()
