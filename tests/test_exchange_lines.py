"""Below messages: waiting until all has left, break, modem lines and settings, cancelled and not, on lines that have
them and on lines that have not."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import labtether as lt
from support.exchanges import BRIEF, FAR, PtyMachine, TcpMachine, effects_in, in_step, notes
from support.nurseries import settled

Call = Callable[[lt.Link[Any]], Awaitable[object]]

HAS_NOT: list[tuple[str, Call]] = [
    ("lines", lambda link: link.lines()),
    ("dtr", lambda link: link.set_lines(dtr=True)),
    ("rts", lambda link: link.set_lines(rts=False)),
    ("break", lambda link: link.send_break(0.01)),
]


@pytest.mark.parametrize(("what", "call"), HAS_NOT)
async def test_a_pseudo_terminal_says_what_it_has_not_and_goes_on(what: str, call: Call) -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **BRIEF) as link:
            with pytest.raises(lt.Unsupported, match=what) as caught:
                await call(link)
            assert caught.value.link == link.name
            await in_step(link)


@pytest.mark.parametrize("call", [call for _, call in HAS_NOT])
async def test_a_socket_says_that_it_is_no_serial_line(call: Call) -> None:
    with TcpMachine() as machine:
        async with lt.tcp(machine.host, machine.port, **BRIEF) as link:
            with pytest.raises(lt.Unsupported, match="no serial line"):
                await call(link)
            with pytest.raises(lt.Unsupported, match="no serial line"):
                await link.configure(baudrate=9600)
            await in_step(link)


@pytest.mark.parametrize("call", [call for _, call in HAS_NOT] + [lambda link: link.drain()])
async def test_it_needs_a_link_that_is_open(call: Call) -> None:
    with pytest.raises(lt.LinkClosed):
        await call(lt.serial("/dev/null/there/is/nothing"))


async def test_settings_change_between_two_questions() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **BRIEF) as link:
            for baudrate in (19200, 115200):
                await link.configure(baudrate=baudrate)
                await in_step(link)
            await link.configure(stopbits=2, rtscts=False)
            await in_step(link)


async def test_settings_wait_for_their_turn_or_are_told_that_it_did_not_come() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **BRIEF) as link, lt.open_nursery() as nursery:
            async with link.exchange() as talk:
                await talk.send("MOVE")
                await machine.until(lambda: machine.heard)
                changing = nursery.start_soon(lambda: link.configure(baudrate=19200))
                await settled()
                assert not changing.done

                async def impatient() -> None:
                    with pytest.raises(lt.LinkBusy):
                        await link.configure(baudrate=19200, turn=0)

                await nursery.start_soon(impatient)
                machine.finish()
                assert await talk.receive() == "done"
                with pytest.raises(RuntimeError, match="exchange"):
                    await link.configure(baudrate=19200)
            await changing
            await in_step(link)


@pytest.mark.parametrize("call", [lambda link: link.configure(baudrate=19200), lambda link: link.send_break(FAR)])
async def test_cancelled_before_its_turn_nothing_was_done(call: Call) -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **BRIEF) as link, lt.open_nursery() as nursery:
            async with link.exchange() as talk:
                assert await talk.query("ASK") == "re ASK"
                handle = nursery.start_soon(call, link)  # type: ignore[arg-type, var-annotated]
                await settled()
                handle.cancel()
                outcome = await handle.outcome()
                assert isinstance(outcome, lt.Cancelled)
                assert outcome.effect == "never_started"
                assert await talk.query("ASK") == "re ASK"
            await in_step(link)


async def test_drain_waits_until_all_has_left_and_cancelled_stops_no_byte() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **BRIEF) as link:
            await link.drain()
            taken, more = 0, machine.fill()
            while taken < more:
                await anyio.sleep(0.002)
                taken, more = more, machine.fill()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.send, "hush")
                await settled()
                with pytest.raises(lt.LinkTimeout):
                    await link.drain(timeout=0.02)
                errors: list[BaseException] = []

                async def wait() -> None:
                    with scope:
                        try:
                            await link.drain()
                        except BaseException as error:
                            errors.append(error)
                            raise

                scope = anyio.CancelScope()
                tasks.start_soon(wait)
                await settled()
                scope.cancel()
                while not errors:
                    await anyio.sleep(0.001)
                assert set(effects_in(errors[0])) <= {"never_started"}, notes(errors[0])
                machine.resume()
            await link.drain()
            await machine.until(lambda: b"hush" in machine.heard)
            await in_step(link)


async def test_half_closed_a_socket_still_hears_and_says_no_more() -> None:
    with TcpMachine() as machine:
        async with lt.tcp(machine.host, machine.port, **BRIEF) as link:
            await in_step(link)
            await link.write_eof()
            with pytest.raises(lt.LinkError):
                await link.query("ASK")
    with PtyMachine() as pty:
        async with lt.serial(pty.port, **BRIEF) as link:
            with pytest.raises(lt.Unsupported, match="write_eof"):
                await link.write_eof()
            await in_step(link)
