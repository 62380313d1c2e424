"""Links that come back: over a socket that drops the connection, over a terminal that is unplugged and plugged in.

Nothing is asked twice that was not said to bear it, nobody's answer is another's, and everybody is told.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import labtether as lt
from support.exchanges import FAR, HALTED, PtyMachine, TcpMachine, until, until_sync
from support.nurseries import settled

QUICK = lt.Reconnect(first=0.001, factor=1.5, limit=0.02)
OPTIONS: dict[str, Any] = {"settle": 0.001, "drain": 0.02, "close_timeout": 0.5, "timeout": FAR, "turn": FAR}


class Line:
    """An instrument, and its cable."""

    def __init__(self, machine: PtyMachine | TcpMachine) -> None:
        self.machine = machine

    def link(self, **options: Any) -> lt.Link[str]:
        made: lt.Link[str] = lt.link(self.machine.url, **{**OPTIONS, "reconnect": QUICK, **options})
        return made

    def lose(self) -> None:
        """Until `back`."""
        self.machine.unplug()
        self.machine.moving.clear()

    def back(self) -> None:
        """The same instrument, where it was."""
        self.machine.replug()


@pytest.fixture(params=["pty", "tcp"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    machine: PtyMachine | TcpMachine = PtyMachine(at=tmp_path / "tty") if request.param == "pty" else TcpMachine()
    with machine:
        yield Line(machine)


async def is_in(link: lt.Link[Any], state: str) -> None:
    await until(lambda: link.state == state, lambda: (link.state, link.trace()[-5:]))


async def test_what_is_in_flight_fails_and_what_waits_goes_on(line: Line) -> None:
    async with line.link() as link, lt.open_nursery() as nursery:
        assert link.state == "open"

        async def lost() -> None:
            with pytest.raises(lt.LinkLost) as caught:
                await link.query("MOVE")
            assert caught.value.command == "MOVE"

        first = nursery.start_soon(lost)
        await until(lambda: line.machine.heard)
        queued = [nursery.start_soon(link.query, f"ASK {number}") for number in range(3)]
        await settled()
        line.lose()
        await is_in(link, "reconnecting")
        await first
        assert not any(handle.done for handle in queued)
        asked_meanwhile = nursery.start_soon(link.query, "ASK more")
        line.back()
        assert [await handle for handle in queued] == ["re ASK 0", "re ASK 1", "re ASK 2"]
        assert await asked_meanwhile == "re ASK more"
        assert link.state == "open"
        assert line.machine.heard.count(b"MOVE") == 1


async def test_an_exchange_that_was_open_is_lost_with_the_connection(line: Line) -> None:
    async with line.link() as link, lt.open_nursery() as nursery:
        talks: list[lt.Exchange[str]] = []

        async def talk_on() -> None:
            with pytest.raises(lt.LinkLost):
                async with link.exchange(abort=HALTED) as talk:
                    talks.append(talk)
                    await talk.query("MOVE")
            assert talk.effect == "unconfirmed"

        talking = nursery.start_soon(talk_on)
        await until(lambda: line.machine.heard)
        line.lose()
        await is_in(link, "reconnecting")
        await talking
        line.back()
        assert await link.query("ASK") == "re ASK"
        assert line.machine.halts == 0


async def test_a_talk_that_goes_on_after_the_connection_has_changed_is_told(line: Line) -> None:
    async with line.link() as link:
        with pytest.raises(lt.LinkLost):
            async with link.exchange() as talk:
                assert await talk.query("ASK 1") == "re ASK 1"
                line.lose()
                await is_in(link, "reconnecting")
                line.back()
                await is_in(link, "open")
                await talk.query("ASK 2")
        assert await link.query("ASK 3") == "re ASK 3"
        assert b"ASK 2" not in line.machine.heard


async def test_what_may_be_asked_twice_is_asked_again(line: Line) -> None:
    async with line.link() as link, lt.open_nursery() as nursery:
        asking = nursery.start_soon(lambda: link.query("MOVE", idempotent=True))
        await until(lambda: line.machine.heard)
        line.lose()
        await is_in(link, "reconnecting")
        assert not asking.done
        line.back()
        await until(lambda: line.machine.heard.count(b"MOVE") == 2)
        line.machine.finish()
        assert await asking == "done"


async def test_what_was_in_flight_by_id_fails_and_ids_are_free_again(line: Line) -> None:
    async with line.link(match=lt.ById(r"^#(\w+)", r"^#(\w+)")) as link, lt.open_nursery() as nursery:

        async def lost(number: int) -> None:
            with pytest.raises(lt.LinkLost):
                await link.query(f"#{number} MOVE")

        asking = [nursery.start_soon(lost, number) for number in range(3)]
        await until(lambda: len(line.machine.heard) == 3)
        line.lose()
        for handle in asking:
            await handle
        line.back()
        assert await link.query("#1 ASK") == "#1 re ASK"


async def test_ready_runs_before_anybody_and_its_failure_is_tried_again(line: Line) -> None:
    times: list[int] = []

    async def ready(link: lt.Link[str]) -> None:
        times.append(len(times))
        assert await link.query("ASK ready") == "re ASK ready"
        if len(times) < 3:
            raise RuntimeError("not yet")

    policy = lt.Reconnect(first=0.001, factor=1.5, limit=0.02, ready=ready)
    async with line.link(reconnect=policy) as link, lt.open_nursery() as nursery:
        assert await link.query("ASK 1") == "re ASK 1"
        assert not times, "the first connection is the lifespan's"
        line.lose()
        await is_in(link, "reconnecting")
        asking = nursery.start_soon(link.query, "ASK 2")
        line.back()
        assert await asking == "re ASK 2"
        assert line.machine.heard == [b"ASK 1", *[b"ASK ready"] * 3, b"ASK 2"]


async def test_who_listens_is_told_and_goes_on(line: Line) -> None:
    async with line.link() as link, link.messages() as heard:
        line.machine.send(b"one\n")
        assert await anext(heard) == "one"
        line.lose()
        with pytest.raises(lt.LinkLost):
            await anext(heard)
        line.back()
        assert await link.query("ASK") == "re ASK"
        line.machine.send(b"two\n")
        assert await anext(heard) == "two"


async def test_what_came_before_the_loss_is_not_lost(line: Line) -> None:
    async with line.link() as link:
        async with link.messages() as heard:
            line.machine.send(b"one\n")
            await until(lambda: b"one" in b"".join(event.data for event in link.trace()))
            line.lose()
            await is_in(link, "reconnecting")
            assert await anext(heard) == "one"
            with pytest.raises(lt.LinkLost):
                await anext(heard)
        line.back()
        await is_in(link, "open")


async def test_receive_is_told_once(line: Line) -> None:
    async with line.link() as link, lt.open_nursery() as nursery:

        async def lost() -> None:
            with pytest.raises(lt.LinkLost):
                await link.receive()

        waiting = nursery.start_soon(lost)
        await settled()
        line.lose()
        await waiting
        line.back()
        await is_in(link, "open")
        line.machine.send(b"news\n")
        assert await link.receive() == "news"


async def test_a_poll_that_skips_goes_on_and_one_that_raises_ends(line: Line) -> None:
    async with line.link() as link:
        async with (
            link.poll("ASK skip", every=0.001, on_error="skip") as patient,
            link.poll("ASK raise", every=0.001) as strict,
        ):
            assert (await anext(patient)).value == "re ASK skip"
            assert (await anext(strict)).value == "re ASK raise"
            line.lose()
            await is_in(link, "reconnecting")
            with pytest.raises(lt.LinkLost):
                async for _ in strict:
                    pass
            line.back()
            since = len(line.machine.heard)
            await until(lambda: b"ASK skip" in line.machine.heard[since:])
            line.machine.heard.clear()
            count = 0
            async for reading in patient:
                assert reading.value == "re ASK skip"
                count += 1
                if count > 50 and line.machine.heard:
                    break


async def test_it_gives_up_when_it_was_told_to(line: Line) -> None:
    policy = lt.Reconnect(first=0.001, factor=1.5, limit=0.005, give_up=0.05)
    async with line.link(reconnect=policy) as link:
        line.lose()
        await is_in(link, "lost")
        with pytest.raises(lt.LinkLost):
            await link.query("ASK")
        line.back()
    assert link.state == "closed"


async def test_who_waits_for_it_is_told_when_it_gives_up(line: Line) -> None:
    policy = lt.Reconnect(first=0.001, factor=1.5, limit=0.005, give_up=0.05)
    async with line.link(reconnect=policy) as link:
        line.lose()
        await is_in(link, "reconnecting")
        with pytest.raises(lt.LinkLost):
            await link.query("ASK")
        assert link.state == "lost"
        line.back()


async def test_whose_turn_does_not_come_for_want_of_a_connection_is_told_so(line: Line) -> None:
    async with line.link() as link:
        line.lose()
        await is_in(link, "reconnecting")
        with pytest.raises(lt.LinkLost):
            await link.query("ASK", turn=0.02)
        with pytest.raises(lt.LinkLost):
            await link.send("ASK", urgent=True)
        line.back()
        assert await link.query("ASK") == "re ASK"


SLOW = lt.Reconnect(first=FAR, limit=FAR)
"""A way back that nobody waits for."""


@pytest.mark.parametrize("where", ["task", "thread"])
async def test_stop_ends_a_link_that_is_on_its_way_back(line: Line, where: str) -> None:
    link = line.link(reconnect=SLOW)
    await link.setup()
    async with lt.open_nursery() as nursery:
        line.lose()
        await is_in(link, "reconnecting")

        async def ask() -> None:
            # Which of the two is the next test's.
            with pytest.raises((lt.LinkClosed, lt.LinkLost)):
                await link.query("ASK")

        asking = nursery.start_soon(ask)
        await settled()
        if where == "task":
            await link.stop()
        else:
            thread = threading.Thread(target=link.sync.stop)
            thread.start()
            await until(lambda: not thread.is_alive())
            thread.join()
        assert link.state == "closed"
        await asking
        line.back()
        async with link:
            assert await link.query("ASK") == "re ASK"


async def test_who_waits_while_it_is_stopped_is_told_that_it_is_closed(line: Line) -> None:
    link = line.link(reconnect=SLOW)
    for _ in range(20):
        await link.setup()
        async with lt.open_nursery() as nursery:
            line.lose()
            await is_in(link, "reconnecting")

            async def ask() -> None:
                with pytest.raises(lt.LinkClosed):
                    await link.query("ASK")

            nursery.start_soon(ask)
            await settled()
            await link.stop()
            line.back()


@pytest.mark.parametrize("how", ["cancel", "leave"])
async def test_a_scope_that_ends_meanwhile_ends_at_once(line: Line, how: str) -> None:
    async def use() -> None:
        async with line.link(reconnect=SLOW) as link:
            links.append(link)
            line.lose()
            await is_in(link, "reconnecting")
            if how == "cancel":
                scope.cancel()
                await link.query("ASK")

    links: list[lt.Link[str]] = []
    with anyio.CancelScope() as scope:
        await use()
    assert scope.cancelled_caught == (how == "cancel")
    assert links[0].state == "closed"


async def test_a_cancelled_wait_for_the_connection_asked_nothing(line: Line) -> None:
    async with line.link() as link, lt.open_nursery() as nursery:
        line.lose()
        await is_in(link, "reconnecting")
        handle = nursery.start_soon(lambda: link.query("MOVE", abort=HALTED))
        await settled()
        handle.cancel()
        outcome = await handle.outcome()
        assert isinstance(outcome, lt.Cancelled)
        assert outcome.effects == ((link.name, b"MOVE", "never_started"),)
        line.back()
        assert await link.query("ASK") == "re ASK"
        assert line.machine.heard == [b"ASK"]


async def test_a_hundred_losses_leave_nothing_behind_and_no_answer_astray(line: Line) -> None:
    async with line.link(reconnect=lt.Reconnect(first=0, limit=0.002)) as link, lt.open_nursery() as nursery:
        over = False
        wrong: list[str] = []

        async def ask(name: str) -> None:
            number = 0
            while not over:
                number += 1
                try:
                    answer = await link.query(f"ASK {name} {number}")
                except lt.LinkLost:
                    continue
                if answer != f"re ASK {name} {number}":
                    wrong.append(answer)

        for name in ("a", "b"):
            nursery.start_soon(ask, name)
        for _ in range(25):
            since = len(line.machine.heard)
            await until(lambda since=since: len(line.machine.heard) > since + 1)  # type: ignore[misc]
            line.lose()
            line.back()
        over = True
    assert not wrong


def test_the_blocking_face_waits_for_the_way_back(line: Line) -> None:
    with line.link().sync as link:
        assert link.query("ASK 1") == "re ASK 1"
        line.lose()
        until_sync(lambda: link.state == "reconnecting")
        timer = threading.Timer(0.01, line.back)
        timer.start()
        assert link.query("ASK 2") == "re ASK 2"
        timer.join()
