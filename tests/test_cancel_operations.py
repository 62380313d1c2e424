"""What the matrix in `test_cancel.py` cancels: each awaitable operation, the moments it has, and what must hold after.

As a control, each operation here comes to its own end where nobody cancels it.
"""

import abc
import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import anyio
import pytest

import labtether as lt
from support import PtyInstrument, Reply
from test_cancel_means import Attempt


class Moment(enum.Enum):
    """Where an await stands when it is cancelled."""

    EARLY = "before it started"
    QUEUED = "another exchange has the line"
    OWED = "the line owes a reply to somebody who has left"
    FULL = "writing: the line takes not a byte"
    PARTLY = "writing: the line has taken a part"
    WAITING = "waiting for what the instrument says"
    ENDING = "in the instant of completion"


LONG = 100_000
"""Bytes; more than a pseudo-terminal takes."""


async def until(true: Callable[[], object], what: str) -> None:
    """Wait for something that has no event of its own, for five seconds at most."""
    with anyio.move_on_after(5.0):
        while not true():
            await anyio.sleep(0.001)
    assert true(), f"{what} did not happen"


def answer(command: bytes) -> Reply:
    """Answers `ASK`s at once; whatever else is asked is answered when the test says so."""
    return b"re " + command + b"\n" if command.startswith(b"ASK") else None


class Bench:
    """An instrument on a pseudo-terminal, an open link to it, and what is done to both around a cancellation."""

    def __init__(self, instrument: PtyInstrument, link: lt.Link[Any], *, raw: bool) -> None:
        self.instrument = instrument
        self.link = link
        self.raw = raw
        self.moment = Moment.WAITING
        self.readings: Any = None
        self.sent = 0
        self._asked = 0
        self._since = 0
        self._holder: Any = None

    async def ask(self, command: str) -> str:
        """A query, whatever the framing of the link."""
        if self.raw:
            return str(await self.link.query(f"{command}\n".encode(), framing="\n"))
        return str(await self.link.query(command))

    async def arrange(self, moment: Moment) -> None:
        """Bring the line into the state that the moment needs."""
        self.moment = moment
        self._since = len(self.instrument.heard)
        if moment is Moment.QUEUED:
            self._holder = self.link.exchange()
            await self._holder.__aenter__()
        elif moment is Moment.OWED:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.ask, "LATE first")
                await self.until_heard(b"LATE first")
                tasks.cancel_scope.cancel()
        elif moment is Moment.FULL:
            await self._fill()
        elif moment is Moment.PARTLY:
            self.instrument.stall()

    async def _fill(self) -> None:
        """The terminal moves bytes on in the background, on a thread of the kernel's that may have to wait, and has
        room again then: filled until it has had none for a while."""
        taken, calm = self.instrument.fill(), 0
        while calm < 4:
            await anyio.sleep(0.002)
            more = self.instrument.fill()
            taken, calm = more, calm + 1 if more == taken else 0

    async def relieve(self) -> None:
        """Bring the line back into order."""
        if self._holder is not None:
            holder, self._holder = self._holder, None
            await holder.__aexit__(None, None, None)
        elif self.moment is Moment.OWED:
            self.instrument.send(b"late first\n")
        elif self.moment in (Moment.FULL, Moment.PARTLY):
            self.instrument.resume()

    def was_heard(self, start: bytes) -> bool:
        """Whether the instrument has heard a command that starts so since the line was arranged."""
        return any(command.startswith(start) for command in self.instrument.heard[self._since :])

    async def until_heard(self, start: bytes) -> None:
        """Wait until it has."""
        await until(lambda: self.was_heard(start), f"hearing {start!r}")

    def goes_out(self) -> bool:
        """Whether the last that happened on the wire was bytes that went out."""
        return any(event.direction == ">" and b"xx" in event.data for event in self.link.trace())

    async def next_exchange(self) -> None:
        """The next questions get their own answers, and soon: what the line owed has come by now."""
        with anyio.fail_after(3.0):
            for _ in range(2):
                self._asked += 1
                assert await self.ask(f"ASK {self._asked}") == f"re ASK {self._asked}"

    async def next_exchange_after(self, owed: bytes, *, heard: bool | None) -> None:
        """The next questions get their own answers, and none is asked before what the line owes has come.

        heard: whether the cancelled command reached the instrument; None: it may have.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.next_exchange)
            await until(lambda: self.was_heard(b"LATE x") or self.was_heard(b"ASK"), "any command")
            if self.was_heard(b"LATE x"):
                assert not self.was_heard(b"ASK"), "the link did not keep the line until the late reply had come"
                self.instrument.send(owed)
        assert heard is None or self.was_heard(b"LATE x") == heard


class Steps:
    """What only some operations need."""

    async def prepare(self, bench: Bench) -> None:
        """What is there before the await begins; the line has been arranged."""

    async def arrive(self, bench: Bench) -> None:
        """Wait until the await, which has begun, is where the moment says."""

    async def complete(self, bench: Bench) -> None:
        """Make it end by itself, where it does not do so without help."""


class Operation(Steps, abc.ABC):
    """One row of the table. `moments` are those it has; a comment says why it lacks the others."""

    raw: ClassVar[bool] = False
    brief: ClassVar[bool] = False
    """It may be over before a cancellation comes, whatever the moment."""
    moments: ClassVar[tuple[Moment, ...]]

    @property
    def name(self) -> str:
        return type(self).__name__

    @asynccontextmanager
    async def bench(self) -> AsyncIterator[Bench]:
        """An instrument and an open link, for as long as the block."""
        framing = None if self.raw else "\n"
        with PtyInstrument(answer) as instrument:
            link: lt.Link[Any] = lt.serial(instrument.port, framing=framing, settle=0.001, drain=0.1, close_timeout=0.5)
            async with link:
                yield Bench(instrument, link, raw=self.raw)
                assert link.state == "open"

    @abc.abstractmethod
    async def call(self, bench: Bench, attempt: Attempt) -> object:
        """The await, right behind `attempt.here()`."""

    @abc.abstractmethod
    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        """What must hold once it is over and the line is in order again. It may have ended by itself."""


BOTH_WAYS: tuple[Moment, ...] = (
    Moment.EARLY,
    Moment.QUEUED,
    Moment.OWED,
    Moment.FULL,
    Moment.PARTLY,
    Moment.WAITING,
    Moment.ENDING,
)


class Query(Operation):
    """A command and its reply."""

    moments = BOTH_WAYS

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        command = "LATE x" + ("x" * LONG if bench.moment is Moment.PARTLY else "")
        attempt.here()
        return await bench.ask(command)

    async def arrive(self, bench: Bench) -> None:
        if bench.moment is Moment.PARTLY:
            await until(bench.goes_out, "writing")
        elif bench.moment in (Moment.WAITING, Moment.ENDING):
            await bench.until_heard(b"LATE")

    async def complete(self, bench: Bench) -> None:
        bench.instrument.send(b"late\n")

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        if bench.moment is Moment.ENDING:
            assert attempt.cancelled or attempt.value == "late"
            await bench.next_exchange()
        elif bench.moment is Moment.EARLY:
            await bench.next_exchange_after(b"late\n", heard=None)
        else:
            heard = bench.moment in (Moment.PARTLY, Moment.WAITING)
            await bench.next_exchange_after(b"late\n", heard=heard)


class OpenExchange(Operation):
    """Taking the line for an exchange."""

    # Opening writes nothing and hears nothing: all it waits for is its turn.
    moments = (Moment.EARLY, Moment.QUEUED, Moment.OWED, Moment.ENDING)

    async def prepare(self, bench: Bench) -> None:
        if bench.moment is Moment.ENDING:
            await bench.arrange(Moment.QUEUED)
            bench.moment = Moment.ENDING

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        async with bench.link.exchange():
            return "its turn"

    async def complete(self, bench: Bench) -> None:
        await bench.relieve()

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        assert attempt.cancelled or attempt.value == "its turn"
        await bench.next_exchange()


class ReceiveInExchange(Query):
    """Waiting for a message in an exchange that has sent something."""

    # The exchange has its turn and has written when this begins.
    moments = (Moment.EARLY, Moment.WAITING, Moment.ENDING)

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        async with bench.link.exchange() as talk:
            await talk.send("LATE x")
            await bench.until_heard(b"LATE")
            attempt.here()
            return await self.listen(talk)

    async def listen(self, talk: lt.Exchange[Any]) -> object:
        return await talk.receive()


class ReadInExchange(ReceiveInExchange):
    """Waiting for raw bytes in an exchange that has sent something."""

    async def listen(self, talk: lt.Exchange[Any]) -> object:
        return (await talk.read(5)).removesuffix(b"\n").decode()


class SendInExchange(Query):
    """Sending in an exchange: what it asked is owed an answer, unlike a plain send."""

    # The exchange has its turn; waiting is `receive`'s.
    moments = (Moment.EARLY, Moment.FULL, Moment.PARTLY, Moment.ENDING)

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        message = "LATE x" + ("x" * LONG if bench.moment is Moment.PARTLY else "")
        async with bench.link.exchange() as talk:
            attempt.here()
            await talk.send(message)
        return None

    async def complete(self, bench: Bench) -> None:
        """It does so by itself."""

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        if attempt.cancelled:
            unknown = bench.moment in (Moment.EARLY, Moment.ENDING)
            await bench.next_exchange_after(b"late\n", heard=None if unknown else bench.moment is Moment.PARTLY)
        else:
            await bench.next_exchange()


class PollStep(Query):
    """One step of an iteration over a poll, whose question goes on without it."""

    # Its commands are short: a line that takes part of one would be chance.
    moments = tuple(moment for moment in BOTH_WAYS if moment is not Moment.PARTLY)

    async def prepare(self, bench: Bench) -> None:
        bench.readings = bench.link.poll("LATE x", every=3600)
        await bench.readings.__aenter__()

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        return (await anext(bench.readings)).value

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        await bench.until_heard(b"LATE x")
        if bench.moment is not Moment.ENDING:
            bench.instrument.send(b"late\n")
        # No reading is lost: it was given, or it is the next.
        value = (await anext(bench.readings)).value if attempt.cancelled else attempt.value
        assert value == "late"
        bench.readings.close()
        await bench.next_exchange()


ASKING: list[Operation] = [
    Query(),
    OpenExchange(),
    ReceiveInExchange(),
    ReadInExchange(),
    SendInExchange(),
    PollStep(),
]


def by_name(operation: object) -> str:
    """For the test's id."""
    return type(operation).__name__ if isinstance(operation, Operation) else str(operation)


async def to_its_end(operation: Operation) -> None:
    """The control: nobody cancels."""
    async with operation.bench() as bench:
        await bench.arrange(Moment.ENDING)
        await operation.prepare(bench)
        attempt = Attempt(lambda attempt: operation.call(bench, attempt))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attempt.run)
            await attempt.reached.wait()
            await operation.arrive(bench)
            await operation.complete(bench)
        assert attempt.error is None
        await operation.afterwards(bench, attempt)


@pytest.mark.parametrize("operation", ASKING, ids=by_name)
async def test_each_operation_ends_by_itself(operation: Operation) -> None:
    if Moment.ENDING in operation.moments:
        await to_its_end(operation)
