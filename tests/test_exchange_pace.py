"""Echoes, what an instrument slower than its line sees, and staying awake while Python does something else."""

import threading
import time
from typing import Any

import pytest

import labtether as lt
from support import Handler, PtyInstrument, TcpInstrument
from support.exchanges import BRIEF, Machine, PtyMachine, TcpMachine, in_step, traced, until


class Echoing(PtyMachine):
    """Repeats every line it hears, whole or changed, before it answers."""

    def __init__(self, wrong: bytes | None = None) -> None:
        super().__init__()
        self.wrong = wrong

    def answer(self, command: bytes) -> Any:
        echo = command + b"\n" if self.wrong is None else self.wrong
        reply = super().answer(command)
        assert reply is None or isinstance(reply, bytes)
        return echo + (reply or b"")


ECHOES: list[Any] = [True, "line"]


@pytest.mark.parametrize("echo", ECHOES)
async def test_an_echo_is_taken_out_wherever_it_comes(echo: Any) -> None:
    with Echoing() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "echo": echo}) as link:
            await in_step(link)
            await link.send("hush")
            await in_step(link)
            async with link.exchange() as talk:
                await talk.send("hush")
                assert await talk.query("ASK") == "re ASK"
            async with link.poll("ASK", every=0, count=5) as readings:
                assert [reading.value async for reading in readings] == ["re ASK"] * 5
            with pytest.raises(lt.LinkTimeout):
                await link.receive(timeout=0.02)


@pytest.mark.parametrize("echo", ECHOES)
async def test_a_wrong_echo_is_a_frame_error_with_both(echo: Any) -> None:
    with Echoing(wrong=b"ASX\n") as machine:
        async with lt.serial(machine.port, **{**BRIEF, "echo": echo}) as link:
            with pytest.raises(lt.FrameError) as caught:
                await link.query("ASK")
            assert "ASK" in str(caught.value)
            assert "ASX" in str(caught.value)
            machine.wrong = None
            await in_step(link)


@pytest.mark.parametrize("echo", ECHOES)
async def test_a_wrong_echo_is_told_to_who_waits_only_later(echo: Any) -> None:
    with Echoing(wrong=b"ASX\n") as machine:
        async with lt.serial(machine.port, **{**BRIEF, "echo": echo}) as link:
            async with link.exchange(timeout=0.3) as talk:
                await talk.send("ASK")
                await until(lambda: b"re ASK\n" in traced(link, "<"))
                with pytest.raises(lt.FrameError):
                    await talk.receive()


@pytest.mark.parametrize(
    "echo",
    [
        True,
        "line",
    ],
)
async def test_after_a_wrong_echo_in_an_exchange_the_line_is_soon_free(echo: Any) -> None:
    with Echoing(wrong=b"ASX\n") as machine:
        async with lt.serial(machine.port, **{**BRIEF, "echo": echo}) as link:
            async with link.exchange() as talk:
                await talk.send("ASK")
                await until(lambda: b"re ASK\n" in traced(link, "<"))
            machine.wrong = None
            assert await link.query("ASK", turn=0.5) == "re ASK"


@pytest.mark.parametrize("echo", ECHOES)
async def test_what_is_unsolicited_may_come_before_an_echo(echo: Any) -> None:
    with Echoing() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "echo": echo, "unsolicited": "^EVENT"}) as link:
            machine.handler = lambda command: b"EVENT\n" + machine.answer(command)
            assert await link.query("ASK 1") == "re ASK 1"
            assert await link.receive() == "EVENT"
            assert await link.query("ASK 2") == "re ASK 2"


@pytest.mark.parametrize("echo", ECHOES)
async def test_a_cancelled_query_leaves_neither_its_echo_nor_its_reply(echo: Any) -> None:
    with Echoing() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "echo": echo}) as link, lt.open_nursery() as nursery:
            for word in ("MOVE", "ACK"):
                moving = nursery.start_soon(link.query, "MOVE") if word == "MOVE" else None
                if moving is not None:
                    await machine.until(lambda: machine.heard)
                    moving.cancel()
                    await moving.outcome()
                    machine.finish()
                await in_step(link)


# -- pace --------------------------------------------------------------------------------------------------------------


class Timed(PtyInstrument):
    """Writes down when each byte came, and when it answered."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler)
        self.times: list[float] = []
        self.said: list[float] = []

    def _read(self) -> None:
        before = len(self.received)
        super()._read()
        self.times += [time.monotonic()] * (len(self.received) - before)

    def _say(self, data: bytes, at: float) -> None:
        self.said.append(time.monotonic())
        super()._say(data, at)


async def test_a_gap_is_kept_from_the_last_byte_in_either_direction() -> None:
    gap = 0.03
    with Timed(lambda command: b"re\n" if command == b"ASK" else None) as instrument:
        async with lt.serial(instrument.port, **{**BRIEF, "gap": gap}) as link:
            for command in ("ASK", "ASK", "hush", "hush"):
                if command == "ASK":
                    assert await link.query(command) == "re"
                else:
                    await link.send(command)
            await instrument.until_heard(4)
        first = [0, 4, 8, 13]
        # Said before the link has heard it, and come after the link has written it: never less than what the link kept.
        assert instrument.times[first[1]] - instrument.said[0] >= gap
        assert instrument.times[first[2]] - instrument.said[1] >= gap
        assert instrument.times[first[3]] - instrument.said[1] >= 2 * gap


@pytest.mark.parametrize(("chunk", "pauses"), [(1, 9), (4, 2)])
async def test_bytes_come_one_by_one_to_an_instrument_that_wants_it_so(chunk: int, pauses: int) -> None:
    delay = 0.004
    with Timed(lambda command: b"re\n") as instrument:
        async with lt.serial(instrument.port, **{**BRIEF, "char_delay": delay, "chunk": chunk}) as link:
            began = time.monotonic()
            assert await link.query("123456789") == "re"
            sent = [len(event.data) for event in link.trace() if event.direction == ">"]
        assert instrument.heard == [b"123456789"]
        assert instrument.times[9] - began >= pauses * delay
        assert (sum(sent), max(sent), len(sent)) == (10, chunk, pauses + 1)


async def test_a_slow_command_is_cancelled_before_its_first_byte_or_sent_whole() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "char_delay": 0.002}) as link, lt.open_nursery() as nursery:
            moving = nursery.start_soon(lambda: link.query("MOVE at a snail's pace"))
            await until(lambda: machine.received)
            moving.cancel()
            await moving.outcome()
            await machine.until(lambda: machine.heard)
            assert machine.heard == [b"MOVE at a snail's pace"]
            machine.finish()
            await in_step(link)


# -- keep-alives -------------------------------------------------------------------------------------------------------

PING = lt.KeepAlive("ASK ping", every=0.02)


def pings(machine: Machine) -> int:
    return machine.heard.count(b"ASK ping")


def hold_the_gil(seconds: float) -> tuple[float, float]:
    """One call into C that gives nobody else a turn, for at least so long; when it began and ended."""
    numbers = 1_000_000
    while True:
        began = time.monotonic()
        sum(range(numbers))
        ended = time.monotonic()
        if ended - began >= seconds:
            return began, ended
        numbers *= 2


@pytest.mark.parametrize("kind", [PtyInstrument, TcpInstrument])
async def test_it_is_kept_awake_while_one_call_holds_the_interpreter(
    kind: type[PtyInstrument | TcpInstrument],
) -> None:
    # The instrument is in a process of its own: in this one nobody has a turn.
    from support import Child

    code = """
        import sys, time
        from support import PtyInstrument, TcpInstrument
        kind = {"PtyInstrument": PtyInstrument, "TcpInstrument": TcpInstrument}[sys.argv[1]]
        times = []
        def answer(command):
            times.append(time.monotonic())
            return b"re " + command + b"\\n"
        with kind(answer) as instrument:
            print(instrument.url)
            for line in sys.stdin:
                print(*times)
                times.clear()
    """
    with Child(code, kind.__name__) as child:
        async with lt.link(child.line(), **{**BRIEF, "keepalive": PING}) as link:
            assert await link.query("ASK") == "re ASK"
            child.say("begin")
            child.line()
            began, ended = hold_the_gil(0.2)
            child.say("which")
            times = [float(one) for one in child.line().split()]
            assert sum(began < one < ended for one in times) >= 2
            assert await link.query("ASK") == "re ASK"
        child.process.stdin.close()  # type: ignore[union-attr]
        child.process.stdin = None
        child.finish()


@pytest.mark.parametrize("kind", [PtyMachine, TcpMachine])
async def test_it_is_kept_awake_while_the_loop_is_blocked_and_left_alone_while_others_talk(
    kind: type[PtyMachine | TcpMachine],
) -> None:
    with kind() as machine:
        async with lt.link(machine.url, **{**BRIEF, "keepalive": PING}) as link:
            machine.wait_heard(3)
            assert pings(machine) >= 3
            async with link.exchange() as talk:
                assert await talk.query("ASK") == "re ASK"
                since = pings(machine)
                await lt.sleep(0.08)
                assert pings(machine) == since
            await machine.until(lambda: pings(machine) > since)
            with pytest.raises(lt.LinkTimeout):
                await link.receive(timeout=0.05)


async def test_it_is_kept_awake_after_a_question_that_got_no_answer() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **{**BRIEF, "keepalive": PING}) as link:
            with pytest.raises(lt.LinkTimeout):
                await link.query("MOVE", timeout=0.01)
            since = pings(machine)
            await machine.until(lambda: pings(machine) > since)
            async with link.exchange() as talk:
                assert await talk.query("ASK") == "re ASK"
                with pytest.raises(lt.LinkTimeout):
                    await talk.receive(timeout=0.01)
            since = pings(machine)
            await machine.until(lambda: pings(machine) > since)


def test_a_keepalive_does_not_keep_a_link_from_ending() -> None:
    with PtyMachine() as machine:
        before = threading.active_count()
        for _ in range(5):
            with lt.serial(machine.port, **{**BRIEF, "keepalive": lt.KeepAlive("ASK ping", every=0.001)}).sync:
                seen = pings(machine)
                machine.wait_heard(seen + 1)
        assert threading.active_count() <= before
