"""The simulated devices that ship with labtether, on real pseudo-terminals and sockets, each with a small driver as its
user would write it. What they say when is in tests/devices.rs; here it is said to anyone."""

import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest
import serial

import labtether as lt
from labtether.testing import SimulatedInstrument, balance, device, faults
from labtether.testing._labsim import Labsim
from support.drivers import ENOUGH, Arm, HighRes, Incubator, Peeler


async def until_heard(instrument: SimulatedInstrument, command: str, times: int = 1) -> None:
    """It has heard `command` so often."""
    with anyio.fail_after(ENOUGH):
        while instrument.heard.count(command) < times:
            await anyio.sleep(0.002)


async def cut_short(
    work: Callable[[], Coroutine[Any, Any, object]], begun: Callable[[], Awaitable[object]]
) -> lt.Cancelled:
    """Begin `work`, and cancel it once it is `begun`."""
    async with lt.open_nursery() as nursery:
        handle = nursery.start_soon(work)
        await begun()
        handle.cancel("the stop button")
        outcome = await handle.outcome()
    assert isinstance(outcome, lt.Cancelled)
    return outcome


# -- The devices -------------------------------------------------------------------------------------------------------


async def test_a_peeler_peels_until_its_tape_is_out() -> None:
    with device("xpeel", pace=0.002, supply=31) as peeler:
        async with Peeler.on(peeler.link()) as driver:
            assert await driver.tape() == (30, 100)
            assert await driver.move("*moveout") == (0, 0, 0)
            assert await driver.move("*xpeel:41") == (0, 0, 0)
            assert await driver.move("*xpeel:41") == (0, 20, 0), "fewer than 30 are left"
            assert await driver.tape() == (20, 90)
        assert peeler.heard[:3] == ["*stat", "*tapeleft", "*moveout"]


async def test_a_peeler_whose_seal_stays_says_so_as_an_error() -> None:
    with device("xpeel", pace=0.002, fault="04") as peeler:
        error = r"^\*ready:(?P<code>0[1-9]|10|5[12]),"
        async with peeler.link(error=error) as link:
            with pytest.raises(lt.InstrumentError) as caught:
                await link.query_all("*xpeel:41", until=r"^\*ready:", timeout=ENOUGH)
            assert caught.value.code == "04"
            # It is not done with it: its status says so until the next motion.
            with pytest.raises(lt.InstrumentError):
                await link.query("*stat")


async def test_a_peeler_does_not_hear_while_it_peels() -> None:
    with device("xpeel", pace=0.05) as peeler:
        async with peeler.link(drain=0) as link:
            async with link.exchange(timeout=ENOUGH) as talk:
                assert await talk.query("*xpeel:41") == "*ack"
                with pytest.raises(lt.LinkTimeout):
                    await talk.query("*stat", timeout=0.05)
                assert await talk.receive(match=r"^\*ready:") == "*ready:00,00,00"
            assert await link.query("*stat") == "*ready:00,00,00"


async def test_an_incubator_carries_a_plate_and_says_what_it_cannot_do() -> None:
    with device("cytomat", pace=0.002, plates=1) as store:
        link = store.link(error=r"^er (?P<code>[0-9A-F]{2})", busy="^er 01")
        async with Incubator.on(link) as driver:
            assert await driver.do("mv:st 001") == 0x80, "a plate is on the transfer station"
            with pytest.raises(lt.InstrumentError) as caught:
                await driver.do("mv:st 001")
            assert caught.value.code == "32"
            assert await driver.do("mv:ts 005") == 0
            with pytest.raises(RuntimeError, match="mv:st 001: be 02"):
                await driver.do("mv:st 001")


async def test_an_incubator_that_is_busy_says_so_until_it_is_not() -> None:
    with device("cytomat", pace=0.2) as store:
        async with store.link(error=r"^er (?P<code>[0-9A-F]{2})", busy="^er 01") as link:
            await link.query("ll:gp 002")
            with pytest.raises(lt.InstrumentBusy):
                await link.query("ll:gp 001")
            assert await Incubator(link).do("ll:gp 001") == 0, "asked again until it was not busy any more"


async def test_an_arm_moves_and_is_parked() -> None:
    with device("precise_flex", pace=0.01) as arm:
        async with Arm.on(arm.link(error=r"^(?P<code>-\d+) (?P<text>.*)")) as driver:
            assert await driver.where() == [113, 81, 218, 64, 70]
            await driver.move(213, 81, 218, 64, 70)
            assert await driver.where() == [213, 81, 218, 64, 70]
            with pytest.raises(lt.InstrumentError, match="Missing argument") as caught:
                await driver.move(1, 2, 3)
            assert caught.value.code == "-205"
        await until_heard(arm, "exit")
        assert arm.heard[-3:] == ["attach 0", "hp 0", "exit"]


async def test_an_arm_is_halted_where_it_is_when_whoever_moves_it_is_cancelled() -> None:
    with device("precise_flex", pace=0.1) as arm:
        async with Arm.on(arm.link(error=r"^(?P<code>-\d+) (?P<text>.*)")) as driver:
            # A minute's way, at this pace.
            outcome = await cut_short(
                lambda: driver.move(60_000, 81, 218, 64, 70), lambda: until_heard(arm, "wherej", 3)
            )
            assert outcome.effect == "halted"
            base = (await driver.where())[0]
            assert 113 < base < 60_000
            assert (await driver.where())[0] == base, "it stands still"
            assert arm.heard.count("halt") == 1


@pytest.mark.parametrize(("interruptible", "effect"), [(False, "unconfirmed"), (True, "halted")])
async def test_an_arm_that_waits_for_a_motion_hears_no_halt_unless_it_is_made_so(
    interruptible: bool, effect: str
) -> None:
    with device("precise_flex", pace=0.02, interruptible=interruptible) as arm:
        async with Arm.on(arm.link(error=r"^(?P<code>-\d+) (?P<text>.*)", drain=5)) as driver:

            async def move() -> None:
                async with driver.link.exchange(timeout=5, abort=lt.Abort("halt", reply="^0$", timeout=0.1)) as talk:
                    await talk.query("movej 1 8113 81 218 64 70")
                    await talk.query("waitForEom")

            outcome = await cut_short(move, lambda: until_heard(arm, "waitForEom"))
            assert outcome.effect == effect
            base = (await driver.where())[0]
            assert base < 8113 if interruptible else base == 8113


async def test_a_centrifuge_spins_and_its_status_waits_for_the_rotor() -> None:
    with device("micro_spin", pace=0.002) as centrifuge:
        async with HighRes.on(centrifuge.link()) as driver:
            assert await driver.do("open 1") == []
            assert await driver.do("status") == ["Spindle Position: 1958", "Door Position: 19242"]
            assert await driver.do("spin 1000 100 100 5") == []
            assert await driver.do("status") == ["Spindle Position: 2958", "Door Position: -258"]
            with pytest.raises(RuntimeError, match="g out of range: 5000"):
                await driver.do("spin 5000 100 100 5")


async def test_a_centrifuge_is_aborted_when_whoever_spins_it_is_cancelled() -> None:
    with device("micro_spin", pace=0.002) as centrifuge:
        async with HighRes.on(centrifuge.link()) as driver:
            # More than half an hour, at this pace too.
            spin = "spin 1000 100 100 1000000"
            for n in (1, 2):
                outcome = await cut_short(lambda: driver.do(spin), lambda n=n: until_heard(centrifuge, spin, n))  # type: ignore[misc]
                assert outcome.effect == "halted"
                with pytest.raises(RuntimeError, match="ABORTED! open 1"):
                    await driver.do("open 1")
                assert await driver.do("cba") == []
                # Not before the rotor stands still.
                assert (await driver.do("status"))[0].startswith("Spindle Position: ")
            assert await driver.do("open 1") == []


async def test_a_delidder_takes_a_lid_and_says_what_it_cannot_do() -> None:
    with device("lid_valet", pace=0.002) as valet:
        async with HighRes.on(valet.link()) as driver:
            assert await driver.do("unlid 1") == []
            assert await driver.do("status") == ["hotel 1: HAS_LID", "hotel 2: OPEN"]
            with pytest.raises(RuntimeError, match="holding a lid / ERROR!"):
                await driver.do("unlid 1")
            assert await driver.do("lid 1") == []
            assert await driver.do("status 1") == ["OPEN"]


async def test_a_delidder_is_aborted_when_whoever_asked_is_cancelled() -> None:
    with device("lid_valet", pace=1) as valet:
        async with valet.link() as link:
            driver = HighRes(link)
            outcome = await cut_short(lambda: driver.do("home"), lambda: until_heard(valet, "home"))
            assert outcome.effect == "halted"
            assert await driver.do("status 2") == ["OPEN"]
            with pytest.raises(RuntimeError, match="ABORTED!"):
                await driver.do("home")
            assert await driver.do("clearabort") == []


async def test_a_balance_says_that_more_follows_and_is_busy() -> None:
    with device("balance", stable_after=0.5, load=1.5) as scale:
        async with scale.link(error="^E[STL]$|^[A-Z0-9]+ [L+-]$", busy="^[A-Z]+ I$") as link:
            commands = await link.query_all("I0", until="^I0 A ", parse=lambda line: line.split('"')[1])
            assert {"S", "SI", "I4", "M21"} <= set(commands)
            assert await link.query("S", parse=lt.number) == 1.5
            with pytest.raises(lt.InstrumentError, match="M21 L"):
                await link.query("M21 0 9")
            async with link.exchange(timeout=ENOUGH) as talk:
                await talk.send("S")
                with pytest.raises(lt.InstrumentBusy):
                    await talk.query("T")
                assert await talk.receive(match="^S S") == "S S    1.50000 g"
    with balance(load=-5) as scale:
        async with scale.link(error="^S -$") as link:
            with pytest.raises(lt.InstrumentError):
                await link.query("S")


# -- Other hosts, other wires ------------------------------------------------------------------------------------------


def test_pyserial_drives_a_peeler() -> None:
    with device("xpeel", pace=0.002) as peeler, serial.Serial(peeler.port, 9600, timeout=ENOUGH) as port:
        for command, replies in (
            (b"*stat\r\n", [b"*ready:00,00,00\r\n"]),
            (b"*xpeel:42.5\r\n", [b"*ack\r\n", b"*ready:00,00,00\r\n"]),
            (b"*tapeleft\r\n", [b"*tape:21,09\r\n", b"*ready:00,00,00\r\n"]),
        ):
            port.write(command)
            assert [port.readline() for _ in replies] == replies


def test_pyserial_reads_the_carriage_returns_of_an_incubator() -> None:
    with device("cytomat", pace=0) as store, serial.Serial(store.port, 9600, timeout=ENOUGH) as port:
        port.write(b"ll:gp 002\r\nhello\r\n")
        assert [port.read_until(b"\r"), port.read_until(b"\r")] == [b"ok 01\r", b"er 03\r"]


def test_a_plain_socket_drives_a_centrifuge() -> None:
    with device("micro_spin", pace=0) as centrifuge, socket.create_connection(centrifuge.address, ENOUGH) as host:
        host.sendall(b"hss\r\n")
        lines = host.makefile("rb")
        assert [lines.readline() for _ in range(3)] == [b"ACK! hss 1\r\n", b"not homed\r\n", b"OK! hss 1\r\n"]
        lines.close()


@pytest.mark.parametrize("transport", ["pty", "tcp", "rfc2217", "memory"])
async def test_any_device_is_on_any_wire(transport: Any) -> None:
    with device("xpeel", transport=transport, pace=0) as peeler:
        async with peeler.link() as link:
            assert await link.query_all("*moveout", until=r"^\*ready:") == ["*ack", "*ready:00,00,00"]
        assert peeler.heard == ["*moveout"]


def test_labsim_makes_them_too(labsim: Labsim) -> None:
    peeler, arm = labsim.device("xpeel", pace=0), labsim.device("precise_flex", name="left arm")
    with peeler.link().sync as link:
        assert link.query("*stat") == "*ready:00,00,00"
    with arm.link().sync as link:
        assert link.query("nop") == "0"
    labsim.check()
    assert [(one.name, one.transport, one.heard) for one in labsim.instruments] == [
        ("xpeel", "pty", ["*stat"]),
        ("left arm", "tcp", ["nop"]),
    ]
    labsim.stop()
    assert all(repr(one).endswith("1 commands heard, off>") for one in labsim.instruments)


async def test_a_device_can_be_unplugged_switched_off_and_behind_a_bad_line() -> None:
    with device("xpeel", pace=0, faults=[faults.Fragment(3)]) as peeler:
        async with peeler.link() as link:
            assert await link.query_all("*movespool", until=r"^\*ready:") == ["*ack", "*ready:00,00,00"]
            peeler.power_cycle()
            assert [await link.receive() for _ in range(3)] == ["*poweron", "*homing", "*ready:00,00,00"]
            peeler.disconnect()
            with pytest.raises(lt.LinkLost):
                await link.query("*stat")
        peeler.reconnect()
        async with peeler.link() as link:
            told = await link.query_all("*tapeleft", until=r"^\*ready:")
            assert told[0] == "*tape:99,99", "it homed, and does not know its tape"


def test_a_device_that_cannot_be_so_is_refused_at_once() -> None:
    for name, options, said in (
        ("toaster", {}, "there is 'balance'"),
        ("xpeel", {"speed": 2}, "no option 'speed'; there are fault, pace, plate, supply, take_up"),
        ("xpeel", {"pace": -1}, "pace is a number from 0 to 100, not '-1'"),
    ):
        with pytest.raises(ValueError, match=said):
            device(name, **options)  # type: ignore[arg-type]
