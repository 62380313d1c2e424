"""Rows 5, 6, 17 and 18 of pylabrobot.md 2.1: until it is ready, back in step, once more if busy, and staying awake."""

import pytest

import labtether as lt
from support.devices import Agrow, Balance, BenchCel, BioTek, Cytomat, Heraeus, LidValet

CYTOMAT = lt.Lines("\r", send_terminator="\r\n")


async def test_row_5_cytomat_is_asked_until_its_busy_bit_is_clear() -> None:
    with Cytomat() as store:
        async with lt.serial(store.port, 9600, framing=CYTOMAT) as link, lt.open_nursery() as nursery:
            assert await link.query("ll:in") == "ok 01"
            ready = nursery.start_soon(
                lambda: link.wait_until("ch:bs", lambda status: status == "bs 00", every=0.005, timeout=60)
            )
            await store.until_heard(4)
            assert not ready.done
            # The line is free between two questions.
            assert await link.query("ch:be") == "be 00"
            store.finish()
            assert await ready == "bs 00"
        assert store.heard[0] == b"ll:in"
        assert set(store.heard[1:]) == {b"ch:bs", b"ch:be"}


async def test_row_5_cytomat_that_stays_busy_is_a_timeout_with_its_last_word() -> None:
    with Cytomat() as store:
        async with lt.serial(store.port, 9600, framing=CYTOMAT) as link:
            await link.query("ll:in")
            with pytest.raises(lt.LinkTimeout, match="bs 01") as caught:
                await link.wait_until("ch:bs", lambda status: status == "bs 00", every=0.005, timeout=0.1)
            assert caught.value.elapsed is not None
            assert caught.value.elapsed >= 0.1
            assert await link.query("ch:bs") == "bs 01"


async def test_row_5_cytomat_a_wait_that_is_cancelled_ends_and_asks_no_more() -> None:
    with Cytomat() as store:
        async with lt.serial(store.port, 9600, framing=CYTOMAT) as link, lt.open_nursery() as nursery:
            await link.query("ll:in")
            ready = nursery.start_soon(lambda: link.wait_until("ch:bs", lambda _: False, every=0.001, timeout=60))
            await store.until_heard(3)
            ready.cancel()
            assert isinstance(await ready.outcome(), lt.Cancelled)
            assert await link.query("ch:be") == "be 00"
            assert store.heard[-1] == b"ch:be"


async def test_row_5_heraeus_ready_flag_as_a_number() -> None:
    with Heraeus() as store:
        framing = lt.Lines("\r\n", send_terminator="\r")
        async with lt.serial(store.port, 9600, framing=framing) as link, lt.open_nursery() as nursery:
            ready = nursery.start_soon(
                lambda: link.wait_until("RD 1915", lambda flag: flag == 1, every=0.002, timeout=60, parse=int)
            )
            await store.until_heard(2)
            store.become_ready()
            assert await ready == 1


# -- row 6 -------------------------------------------------------------------------------------------------------------


async def test_row_6_biotek_what_was_there_before_the_question_is_not_its_answer() -> None:
    # Today's driver empties every buffer six times before each command.
    with BioTek() as reader:
        framing = lt.Lines("\x03", send_terminator="")
        async with lt.serial(reader.port, 9600, framing=framing) as link:
            reader.send(b"\x069900000\x03")
            await reader.until(lambda: any(b"99" in event.data for event in link.trace()), "the old reply")
            assert await link.query("h") == "\x062350000"


async def test_row_6_biotek_half_a_message_is_thrown_away_on_request() -> None:
    with BioTek() as reader:
        framing = lt.Lines("\x03", send_terminator="")
        async with lt.serial(reader.port, 9600, framing=framing) as link:
            reader.send(b"\x0699")
            await reader.until(lambda: any(b"99" in event.data for event in link.trace()), "half of it")
            await link.discard_input()
            assert await link.query("h") == "\x062350000"


async def test_row_6_mettler_a_known_answer_brings_the_link_back_in_step_at_once() -> None:
    # Nothing is waited for: the weight that is owed never comes.
    with Balance() as balance:
        resync = lt.Resync("I4", "^I4 A")
        async with lt.serial(balance.port, 9600, framing="\r\n", resync=resync, drain=60) as link:
            with pytest.raises(lt.LinkTimeout):
                await link.query("S", timeout=0.02)
            assert await link.query("Z", timeout=30) == "Z A"
            assert balance.heard == [b"S", b"I4", b"Z"]
            assert balance.waiting == 1


async def test_row_6_lidvalet_a_new_connection_brings_the_link_back_in_step() -> None:
    with LidValet() as delidder:
        framing = lt.Lines("\r\n", send_terminator="\n")
        async with lt.tcp(delidder.host, delidder.port, framing=framing, resync="reopen", drain=60) as link:
            with pytest.raises(lt.LinkTimeout):
                await link.query("status 1", framing=lt.Lines("never", send_terminator="\n"), timeout=0.02)
            assert await link.query("status 1") == "ACK! status 1"
        assert delidder.heard == [b"status 1", b"status 1"]


# -- row 17 ------------------------------------------------------------------------------------------------------------


async def test_row_17_mettler_asks_again_while_the_balance_is_busy() -> None:
    with Balance() as balance:
        balance.busy = 3
        async with lt.serial(balance.port, 9600, framing="\r\n", busy=r"^SI? I$") as link:
            weight = await link.query("SI", parse=lt.number, retries=5, retry_delay=0.001)
            assert weight == 42
        assert balance.heard == [b"SI"] * 4


async def test_row_17_mettler_that_stays_busy_is_said_to_be_busy() -> None:
    with Balance() as balance:
        balance.busy = 100
        async with lt.serial(balance.port, 9600, framing="\r\n", busy=r"^SI? I$") as link:
            with pytest.raises(lt.InstrumentBusy) as caught:
                await link.query("SI", retries=2, retry_delay=0.001)
            assert caught.value.reply == "S I"
            with pytest.raises(lt.InstrumentBusy):
                await link.query("SI")
        assert balance.heard == [b"SI"] * 4


async def test_row_17_mettler_is_not_asked_again_after_silence() -> None:
    # It may have done it: only the driver knows whether twice is once.
    with Balance() as balance:
        balance.mute = True
        async with lt.serial(balance.port, 9600, framing="\r\n", busy=r"^SI? I$", drain=0) as link:
            with pytest.raises(lt.LinkTimeout):
                await link.query("T", retries=3, retry_delay=0.001, timeout=0.02)
            assert balance.heard == [b"T"]
            with pytest.raises(lt.LinkTimeout):
                await link.query("I4", retries=3, retry_delay=0.001, timeout=0.02, idempotent=True)
        assert balance.heard == [b"T"] + [b"I4"] * 4


async def test_row_17_cytomat_busy_and_other_errors_are_told_apart() -> None:
    with Cytomat() as store:
        store.refuses = 2
        async with lt.serial(store.port, framing=CYTOMAT, error=r"^er (?P<code>\d+)", busy="^er 01") as link:
            assert await link.query("ll:gp 002", retries=10, retry_delay=0.001) == "ok 02"
            with pytest.raises(lt.InstrumentError) as caught:
                await link.query("ll:xx", retries=10, retry_delay=0.001)
            assert not isinstance(caught.value, lt.InstrumentBusy)
            assert (caught.value.code, caught.value.reply) == ("03", "er 03")
            assert store.heard == [b"ll:gp 002"] * 3 + [b"ll:xx"]
            # The driver's recovery, which today calls itself through `send_command`.
            store.fail(7)
            with pytest.raises(lt.InstrumentError):
                await link.query("ll:gp 001")
            assert await link.query("ch:be") == "be 07"
            assert await link.query("rs:be") == "ok 00"
            assert await link.query("ll:gp 001") == "ok 02"


async def test_row_17_lidvalet_a_busy_nest_is_asked_again() -> None:
    with LidValet() as delidder:
        delidder.busy = 2
        framing = lt.Lines("\r\n", send_terminator="\n")
        async with lt.tcp(delidder.host, delidder.port, framing=framing, busy="^BUSY!") as link:
            async with link.exchange(timeout=30) as talk:
                assert await talk.query("status 1") == "ACK! status 1"
                assert [await talk.receive(), await talk.receive()] == ["OPEN", "OK!"]
            assert await link.query("unlid 1", retries=4, retry_delay=0.001) == "ACK! unlid 1"
        assert delidder.heard.count(b"unlid 1") == 3


# -- row 18 ------------------------------------------------------------------------------------------------------------

READ = b"\x01\x03\0\x13\0\x01"
"""Register 19 of unit 1: what the driver of today asks every 25 s, from a thread with a loop of its own."""


async def test_row_18_agrow_is_kept_awake_while_python_is_blocked() -> None:
    with Agrow() as pump:
        keepalive = lt.KeepAlive(READ, every=0.02)
        async with lt.serial(pump.port, 115200, framing=lt.ModbusRtu(), keepalive=keepalive):
            pump.wait_heard(5)  # it blocks the loop, as a long computation does
        assert all(frame[:-2] == READ for frame in pump.heard)
        assert pump.wrong == 0
        gaps = [after - before for before, after in zip(pump.times, pump.times[1:], strict=False)]
        assert min(gaps) >= 0.01


async def test_row_18_agrow_the_answers_to_keepalives_are_nobody_elses() -> None:
    with Agrow() as pump:
        keepalive = lt.KeepAlive(READ, every=0.001)
        async with lt.serial(pump.port, 115200, framing=lt.ModbusRtu(), keepalive=keepalive) as link:
            for value in range(200):
                write = b"\x01\x06\0\x65" + value.to_bytes(2, "big")
                assert await link.query(write) == write
                assert (await link.query(b"\x01\x03\0\x65\0\x01"))[3:] == value.to_bytes(2, "big")
                if value % 20 == 0:
                    seen = len(pump.heard)
                    await pump.until(lambda: len(pump.heard) >= seen + 2, "a keepalive")  # noqa: B023
            assert link.trace()
        assert pump.registers[101] == 199
        assert pump.wrong == 0


async def test_row_18_agrow_nothing_is_said_in_the_middle_of_an_exchange() -> None:
    with Agrow() as pump:
        keepalive = lt.KeepAlive(READ, every=0.01)
        async with lt.serial(pump.port, 115200, framing=lt.ModbusRtu(), keepalive=keepalive) as link:
            await pump.until_heard(1)
            async with link.exchange(timeout=60) as talk:
                await talk.query(b"\x01\x06\0\x65\0\x05")
                before = len(pump.heard)
                await lt.sleep(0.1)  # there is no event in what does not happen
                assert len(pump.heard) == before
            await pump.until(lambda: len(pump.heard) > before, "the next keepalive")


async def test_row_18_benchcel_a_keepalive_without_an_answer() -> None:
    with BenchCel() as stacker:
        keepalive = lt.KeepAlive(lt.Raw(b"\x01\0\0"), every=0.005, reply=False)
        stacker.handler = lambda frame: None if frame[0] == 1 else stacker.answer(frame)
        framing = lt.LengthPrefixed(2, order="little", offset=1)
        async with lt.tcp(stacker.host, stacker.port, framing=framing, keepalive=keepalive) as link:
            await stacker.until_heard(3)
            assert await link.query(bytes([BenchCel.LOAD, 1, 2])) == bytes([BenchCel.ACK, BenchCel.LOAD, 2])
