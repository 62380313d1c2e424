"""Rows 11 and 14 of pylabrobot.md 2.1: breaks, modem lines, flow control, speeds, parity and seven bits.

A pseudo-terminal has little of this. Measured on Linux: TCSBRK and TIOCSBRK succeed at once and nothing reaches the
master, with PARMRK set and IGNBRK clear too; TIOCMGET is ENOTTY; parity and seven bits are EINVAL; speed, stop bits and
CRTSCTS are kept, and the master sees them. What it cannot show is shown behind RFC 2217, where a break is a telegram.
"""

import fcntl
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import labtether as lt
from support.devices import BioTek, Heraeus, Keyence, Masterflex, Plc, RemotePort
from support.devices.remote import BREAK_OFF, BREAK_ON, DTR_OFF, DTR_ON, RTS_OFF, RTS_ON

PLC = lt.Lines("\r\n", send_terminator="\r")


TCGETS2 = 0x802C542A


def speed_of(port: str) -> int:
    """The speed that the terminal has: any number, where Python's termios knows only those that have a name."""
    number = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        found = fcntl.ioctl(number, TCGETS2, bytes(44))
    finally:
        os.close(number)
    return int.from_bytes(found[40:44], sys.byteorder)


async def test_row_11_biotek_9600_8n2_with_rts_cts_on_a_pseudo_terminal(caplog: pytest.LogCaptureFixture) -> None:
    # What a pseudo-terminal cannot do is left out, and said, one warning each.
    with BioTek() as reader, caplog.at_level(logging.WARNING, "labtether"):
        framing = lt.Lines("\x03", send_terminator="")
        link = lt.serial(reader.port, 9600, stopbits=2, rtscts=True, exclusive=False, framing=framing)
        async with link:
            assert speed_of(reader.port) == 9600
            assert await link.query("h") == "\x062350000"
            for setting in ("stopbits", "rtscts"):
                await reader.until(lambda: any(setting in one.getMessage() for one in caplog.records), setting)  # noqa: B023


async def test_row_11_biotek_the_speed_changes_while_the_link_is_open() -> None:
    # The readers of one make answer at 9600 or at 38461; the centrifuges of another change from 57600 in their setup.
    with BioTek() as reader:
        framing = lt.Lines("\x03", send_terminator="")
        async with lt.serial(reader.port, 9600, exclusive=False, framing=framing) as link:
            for baudrate in (38461, 57600, 19200):
                await link.configure(baudrate=baudrate)
                assert speed_of(reader.port) == baudrate
                assert await link.query("h") == "\x062350000"
            assert await link.query("e", parse=lambda reply: reply.split()[3]) == "2.09"


async def test_row_11_biotek_what_was_sent_before_has_left_at_the_old_speed() -> None:
    with BioTek() as reader:
        framing = lt.Lines("\x03", send_terminator="")
        async with lt.serial(reader.port, 9600, framing=framing) as link:
            reader.stall()
            await link.send("y")
            async with lt.open_nursery() as nursery:
                changed = nursery.start_soon(lambda: link.configure(baudrate=38400))
                reader.resume()
                await changed
            await reader.until_heard(1)


async def test_row_11_heraeus_a_pseudo_terminal_has_no_break_and_says_so_and_nothing_is_lost() -> None:
    # The system would take the break and do nothing: whoever waits for the PLC to wake up then never knows why.
    with Heraeus() as store:
        async with lt.serial(store.port, 9600, rtscts=True, framing=PLC) as link:
            assert await link.query("ST 1801") == "OK"
            with pytest.raises(lt.Unsupported, match="break"):
                await link.send_break(0.02)
            assert await link.query("CR") == "CC"
        assert bytes(store.received) == b"ST 1801\rCR\r"


async def test_row_11_heraeus_a_pseudo_terminal_has_no_modem_lines_and_says_so() -> None:
    with Heraeus() as store:
        async with lt.serial(store.port, 9600, framing=PLC) as link:
            with pytest.raises(lt.Unsupported):
                await link.lines()
            with pytest.raises(lt.Unsupported):
                await link.set_lines(dtr=False, rts=False)
            assert await link.query("CR") == "CC"


async def test_row_11_heraeus_all_output_is_gone_when_drain_returns() -> None:
    with Heraeus() as store:
        async with lt.serial(store.port, 9600, framing=PLC) as link, lt.open_nursery() as nursery:
            store.stall()
            await link.send("ST 1801")
            drained = nursery.start_soon(link.drain)
            store.resume()
            await drained
            await store.until_heard(1)


# -- behind RFC 2217 ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def remote(plc: Plc, query: str = "", **options: object) -> AsyncIterator[tuple[RemotePort, lt.Link[str]]]:
    """A PLC at a port server, and a link to it."""
    with RemotePort(plc.answer, b"\r") as server:
        options = {"framing": PLC, **options}
        async with lt.link(f"{server.url}?baudrate=9600{query}", **options) as link:
            yield server, link


async def test_row_11_heraeus_a_break_wakes_it_and_comes_between_what_was_sent_before_and_after() -> None:
    plc = Plc()
    async with remote(plc) as (server, link):
        await link.send("ST 1801")
        await link.send_break(0.01)
        assert await link.query("CR") == "CC"
        kinds = [one for one in server.done if one[0] == "data" or one in (("control", 5), ("control", 6))]
        before, after = kinds.index(("control", BREAK_ON)), kinds.index(("control", BREAK_OFF))
        assert b"".join(bytes(value) for _, value in kinds[:before] if isinstance(value, bytes)) == b"ST 1801\r"
        assert after == before + 1
        assert b"".join(bytes(value) for _, value in kinds[after:] if isinstance(value, bytes)) == b"CR\r"


async def test_row_11_heraeus_a_cancelled_break_is_not_held_for_ever() -> None:
    async with remote(Plc()) as (server, link), lt.open_nursery() as nursery:
        breaking = nursery.start_soon(lambda: link.send_break(60))
        await server.until(lambda: BREAK_ON in server.told("control"), "the break")
        breaking.cancel()
        assert isinstance(await breaking.outcome(), lt.Cancelled)
        assert await link.query("CR") == "CC"
        controls = server.told("control")
        assert controls.index(BREAK_ON) < controls.index(BREAK_OFF)


async def test_row_11_heraeus_a_break_as_the_way_back_in_step() -> None:
    plc = Plc()
    plc.awake = False
    async with remote(plc, resync=lt.Break(0.01), drain=60) as (server, link):
        with pytest.raises(lt.LinkTimeout):
            await link.query("CR", timeout=0.02)
        plc.awake = True
        assert await link.query("CR") == "CC"
        assert server.told("control").count(BREAK_ON) == 1


async def test_row_11_inheco_sets_both_lines_low_after_opening() -> None:
    async with remote(Plc()) as (server, link):
        await link.set_lines(dtr=False, rts=False)
        await server.until(lambda: {DTR_OFF, RTS_OFF} <= set(server.told("control")), "both lines low")
        await link.set_lines(dtr=True)
        await server.until(lambda: server.told("control")[-1] == DTR_ON, "DTR high")
        await link.set_lines(rts=True)
        await server.until(lambda: server.told("control")[-1] == RTS_ON, "RTS high")
        assert await link.query("CR") == "CC"


async def test_row_11_heraeus_how_the_lines_are_is_known() -> None:
    async with remote(Plc()) as (server, link):
        server.modem_state(16 | 128)
        # The answer to a question comes after the telegram, on the same stream.
        assert await link.query("CR") == "CC"
        lines = await link.lines()
        assert (lines.cts, lines.dsr, lines.ri, lines.cd) == (True, False, False, True)


# -- row 14 ------------------------------------------------------------------------------------------------------------


async def test_row_14_keyence_seven_bits_and_even_parity_where_there_are_such_things() -> None:
    reader = Keyence()
    with RemotePort(reader.answer, b"\r") as server, reader:
        url = f"{server.url}?baudrate=9600&bytesize=7&parity=E"
        async with lt.link(url, framing="\r") as link:
            assert await link.query("LON") == "ABC-0001"
            assert server.told("datasize")[-1:] == [7]
            assert server.told("parity")[-1:] == [3], "3 is even"
            assert server.told("baudrate")[-1:] == [9600]


@pytest.mark.parametrize(("bytesize", "parity"), [(7, "E"), (8, "E"), (7, "O"), (8, "O")])
async def test_row_14_keyence_on_a_pseudo_terminal_works_and_is_warned_about(
    bytesize: int, parity: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Keyence() as reader, caplog.at_level(logging.WARNING, "labtether"):
        async with lt.serial(reader.port, 9600, bytesize=bytesize, parity=parity, framing="\r") as link:
            assert await link.query("LON") == "ABC-0001"
            await reader.until(lambda: any("parity" in record.getMessage() for record in caplog.records), "the warning")


async def test_row_14_masterflex_4800_7o1_on_a_pseudo_terminal() -> None:
    with Masterflex() as pump:
        async with lt.serial(
            pump.port, 4800, bytesize=7, parity="O", exclusive=False, framing=lt.Lines("\r"), name="pump"
        ) as link:
            assert speed_of(pump.port) == 4800
            assert await link.query("\x02P02I") == "\x02P02I0"


async def test_row_14_heraeus_parity_can_change_while_the_link_is_open() -> None:
    async with remote(Plc(), "&parity=E") as (server, link):
        assert await link.query("CR") == "CC"
        await link.configure(parity="O", bytesize=7)
        assert await link.query("CR") == "CC"
        assert server.told("parity")[-2:] == [3, 2]
        assert server.told("datasize")[-1:] == [7]
