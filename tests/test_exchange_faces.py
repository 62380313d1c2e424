"""Several devices on one line, and several questions in flight on one: whose reply is whose."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
import trio

import labtether as lt
from support.exchanges import BRIEF, FAR, HALTED, Machine, PtyMachine, TcpMachine
from support.nurseries import settled

SLASH: dict[str, str] = {"send": "/{address}{body}", "reply": r"^/{address}(?P<body>.*)"}


def line(machine: PtyMachine, **options: Any) -> lt.Link[str]:
    return lt.serial(machine.port, **{**BRIEF, **options})


async def test_an_address_is_added_and_taken_off() -> None:
    with PtyMachine() as machine:
        link = line(machine)
        async with link.at("2", **SLASH) as two, link.at(3, **SLASH) as three:
            assert await two.query("ASK {address} {body}") == "re ASK {address} {body}"
            assert await three.query("ASK 3") == "re ASK 3"
            await two.send("hush")
            async with three.exchange() as talk:
                assert await talk.query("ASK more") == "re ASK more"
        assert machine.heard == [b"/2ASK {address} {body}", b"/3ASK 3", b"/2hush", b"/3ASK more"]
        assert (two.name, three.name) == (f"{link.name}/2", f"{link.name}/3")
        assert link.state == "closed"


@pytest.mark.parametrize("order", ["first made, first closed", "last made, first closed", "the link before them"])
async def test_the_first_opens_and_the_last_closes(order: str) -> None:
    with PtyMachine() as machine:
        link = line(machine)
        two, three = link.at("2", **SLASH), link.at("3", **SLASH)
        faces = [two, three]
        if order == "the link before them":
            await link.setup()
            assert two.state == "closed"
        for face in faces:
            await face.setup()
            await face.setup()
        if order == "the link before them":
            faces.insert(0, link)
        elif order == "last made, first closed":
            faces.reverse()
        for face in faces[:-1]:
            await face.stop()
            assert (face.state, faces[-1].state) == ("closed", "open")
            await face.stop()
            assert await faces[-1].query("ASK") == "re ASK"
        await faces[-1].stop()
        assert [face.state for face in (link, two, three)] == ["closed"] * 3
        async with two:
            assert await two.query("ASK") == "re ASK"


async def test_a_face_that_was_not_set_up_says_so() -> None:
    with PtyMachine() as machine:
        link = line(machine)
        async with link.at("2", **SLASH):
            with pytest.raises(lt.LinkClosed):
                await link.at("3", **SLASH).query("ASK")


async def test_a_face_that_is_forgotten_closes_nothing_that_others_use() -> None:
    with PtyMachine() as machine:
        link = line(machine)
        async with link.at("2", **SLASH) as two:
            link.at("3", **SLASH)
            assert await two.query("ASK") == "re ASK"


async def test_the_messages_of_others_are_not_taken() -> None:
    with PtyMachine() as machine:
        link = line(machine)
        async with link.at("2", **SLASH) as two, link.at("3", **SLASH) as three:
            machine.handler = lambda command: b"/3news of three\n" + machine.answer(command)  # type: ignore[operator]
            assert await two.query("ASK") == "re ASK"
            assert await three.receive() == "news of three"
            async with two.exchange() as talk:
                assert await talk.query("ASK") == "re ASK"
            assert await three.receive() == "news of three"
            async with two.messages() as heard, three.messages() as others:
                machine.send(b"/2one\n/3two\n/2three\n")
                assert [await anext(heard), await anext(heard)] == ["one", "three"]
                assert await anext(others) == "two"
            async with two.poll("ASK", every=0, count=3) as readings:
                assert [reading.value async for reading in readings] == ["re ASK"] * 3


@pytest.mark.parametrize(
    "where",
    [
        "receive",
        "exchange",
        "messages",
        "query_all",
    ],
)
async def test_a_pattern_is_searched_in_what_the_face_gives(where: str) -> None:
    with PtyMachine() as machine:
        async with line(machine).at("2", **SLASH) as two:
            with anyio.fail_after(10):
                if where == "receive":
                    machine.send(b"/2no\n/2yes\n")
                    assert await two.receive(match="^yes", timeout=0.5) == "yes"
                elif where == "messages":
                    async with two.messages("^yes") as heard:
                        machine.send(b"/2no\n/2yes\n")
                        assert await anext(heard) == "yes"
                elif where == "query_all":
                    machine.handler = lambda _: b"/2no\n/2yes\n"
                    assert await two.query_all("S", until="^yes", timeout=0.5) == ["no", "yes"]
                else:
                    machine.handler = lambda _: b"/2no\n/2yes\n"
                    async with two.exchange(timeout=0.5) as talk:
                        await talk.send("S")
                        assert await talk.receive(match="^yes") == "yes"
                        assert talk.skipped == ["no"]


async def test_a_checksum_comes_around_the_address() -> None:
    with PtyMachine() as machine:
        heard: list[bytes] = []

        def answer(frame: bytes) -> bytes:
            heard.append(frame)
            body = b"/2fine"
            return body + b"%02X" % (sum(body) % 256) + b"\n"

        machine.handler = answer
        framing = lt.Lines("\n", checksum=lt.Sum8(encode="HEX"))
        async with lt.serial(machine.port, framing=framing, **BRIEF).at("2", **SLASH) as two:
            assert await two.query("S") == "fine"
        assert heard == [b"/2S" + b"%02X" % (sum(b"/2S") % 256)]


async def test_faces_queue_for_one_line_and_a_cancelled_one_owes_for_all() -> None:
    with PtyMachine() as machine:
        link = line(machine)
        async with link.at("2", **SLASH) as two, link.at("3", **SLASH) as three, lt.open_nursery() as nursery:
            moving = nursery.start_soon(lambda: two.query("MOVE", timeout=FAR))
            await machine.until(lambda: machine.heard)
            asking = nursery.start_soon(three.query, "ASK")
            await settled()
            assert machine.heard == [b"/2MOVE"]
            moving.cancel()
            outcome = await moving.outcome()
            assert isinstance(outcome, lt.Cancelled)
            assert [effect for _, _, effect in outcome.effects] == ["unconfirmed"]
            assert machine.heard == [b"/2MOVE"]
            machine.finish()
            assert await asking == "re ASK"


# -- by id -------------------------------------------------------------------------------------------------------------

IDS: dict[str, Any] = {"match": lt.ById(r"^#(\w+)", r"^#(\w+)")}


class Shuffler(Machine):
    """Answers what it was asked in an order of its own, when it was asked `enough` times."""

    enough = 1

    def answer(self, command: bytes) -> Any:
        self.moving.append(command)
        if len(self.moving) < self.enough:
            return None
        moving, self.moving = self.moving, []
        random.Random(7).shuffle(moving)
        return b"".join(one.split()[0] + b" re " + one + b"\n" for one in moving)


class PtyShuffler(Shuffler, PtyMachine):
    """On a pseudo-terminal."""


class TcpShuffler(Shuffler, TcpMachine):
    """On a socket."""


@pytest.mark.parametrize("kind", [PtyShuffler, TcpShuffler])
async def test_replies_in_any_order_find_their_questions(kind: type[PtyShuffler | TcpShuffler], backend: str) -> None:
    with kind() as machine:
        async with lt.link(machine.url, **{**BRIEF, **IDS}) as link:

            async def ask(number: int) -> str:
                reply: str = await link.query(f"#{number} ASK")
                return reply

            for many in (1, 2, 50):
                machine.enough = many
                expected = [f"#{number} re #{number} ASK" for number in range(many)]
                together = in_a_trio_nursery if backend == "trio" else in_a_gather
                assert await together(ask, many) == expected


async def in_a_gather(ask: Callable[[int], Coroutine[Any, Any, str]], many: int) -> list[str]:
    return await asyncio.gather(*map(ask, range(many)))


async def in_a_trio_nursery(ask: Callable[[int], Coroutine[Any, Any, str]], many: int) -> list[str]:
    got: dict[int, str] = {}

    async def keep(number: int) -> None:
        got[number] = await ask(number)

    async with trio.open_nursery() as nursery:
        for number in range(many):
            nursery.start_soon(keep, number)
    return [got[number] for number in range(many)]


async def test_an_id_in_flight_is_not_asked_twice_and_is_free_when_its_reply_has_come() -> None:
    with PtyMachine() as machine:
        async with line(machine, **IDS) as link, lt.open_nursery() as nursery:
            moving = nursery.start_soon(link.query, "#7 MOVE")
            await machine.until(lambda: machine.heard)
            with pytest.raises(ValueError, match="7"):
                await link.query("#7 ASK")
            assert await link.query("#8 ASK") == "#8 re ASK"
            machine.finish()
            assert await moving == "#7 done"
            assert await link.query("#7 ASK") == "#7 re ASK"
            assert machine.heard == [b"#7 MOVE", b"#8 ASK", b"#7 ASK"]


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_a_late_reply_is_dropped_and_holds_nobody_up(how: str) -> None:
    with PtyMachine() as machine:
        async with line(machine, **IDS, drain=FAR) as link, lt.open_nursery() as nursery:
            if how == "cancelled":
                moving = nursery.start_soon(link.query, "#7 MOVE")
                await machine.until(lambda: machine.heard)
                moving.cancel()
                outcome = await moving.outcome()
                assert isinstance(outcome, lt.Cancelled)
                assert outcome.effects == ((link.name, b"#7 MOVE", "unconfirmed"),)
            else:
                with pytest.raises(lt.LinkTimeout):
                    await link.query("#7 MOVE", timeout=0.01)
            assert await link.query("#8 ASK") == "#8 re ASK"
            async with link.messages() as heard:
                machine.finish()
                machine.send(b"news\n")
                assert await anext(heard) == "news"
            assert "late" in " ".join(event.note for event in link.trace())
            assert await link.query("#7 ASK") == "#7 re ASK"


async def test_an_exchange_has_the_line_to_itself_though_others_fly() -> None:
    with PtyMachine() as machine:
        async with line(machine, **IDS) as link, lt.open_nursery() as nursery:
            moving = nursery.start_soon(link.query, "#7 MOVE")
            await machine.until(lambda: machine.heard)

            async def talk_on() -> str:
                async with link.exchange() as talk:
                    later = nursery.start_soon(link.query, "#9 ASK")
                    assert await talk.query("#8 ASK") == "#8 re ASK"
                    assert b"#9 ASK" not in machine.heard
                return await later

            talking = nursery.start_soon(talk_on)
            await settled()
            assert b"#8 ASK" not in machine.heard
            machine.finish()
            assert await moving == "#7 done"
            assert await talking == "#9 re ASK"


async def test_an_abort_stops_one_and_leaves_the_others() -> None:
    with PtyMachine() as machine:
        async with line(machine, **IDS) as link, lt.open_nursery() as nursery:
            moving = nursery.start_soon(lambda: link.query("#7 MOVE", abort=HALTED))
            await machine.until(lambda: machine.heard)
            other = nursery.start_soon(link.query, "#8 WAIT")
            await machine.until(lambda: len(machine.heard) == 2)
            moving.cancel()
            outcome = await moving.outcome()
            assert isinstance(outcome, lt.Cancelled)
            assert outcome.effects == ((link.name, b"#7 MOVE", "halted"),)
            assert not other.done
            machine.send(b"#8 there\n")
            assert await other == "#8 there"


async def test_a_poll_by_id_and_others_meanwhile() -> None:
    with PtyMachine() as machine:
        async with line(machine, **IDS) as link, link.poll("#p ASK", every=0, count=30) as readings:
            values = []
            async for reading in readings:
                values.append(reading.value)
                assert await link.query("#q ASK") == "#q re ASK"
            assert values == ["#p re ASK"] * 30
