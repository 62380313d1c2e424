"""The rows of the cancel matrix that open and close: nothing half open is left, and the port is free (laws 2 and 6)."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

import labtether as lt
from support import PtyInstrument
from test_cancel_means import Attempt
from test_cancel_operations import LONG, Bench, Moment, Operation, answer, by_name, to_its_end, until


class Doorway(Bench):
    """A bench whose link may be closed, or be knocking at a door that does not open."""

    tasks: anyio.abc.TaskGroup
    door: socket.socket
    state_at_end = ""
    """Where the link stood when the await ended, before anything else could happen."""
    held_at_end = -1
    """How many descriptors of the link's port there were then."""
    outcomes: list[BaseException | None]
    """How the others ended that wanted something of the link meanwhile."""

    async def arrange(self, moment: Moment) -> None:
        if moment is Moment.QUEUED:
            self.moment = moment  # it is not an exchange that is in the way
        else:
            await super().arrange(moment)

    def note_the_end(self) -> None:
        """To be called as the await ends."""
        self.state_at_end = self.link.state
        self.held_at_end = descriptors_of(self.instrument.port)

    async def meanwhile(self, work: Any) -> None:
        """Begin something beside the await under test, and keep how it ends."""
        begun = anyio.Event()

        async def wanted() -> None:
            begun.set()
            try:
                await work()
            except lt.LinkError as error:
                self.outcomes.append(error)
            else:
                self.outcomes.append(None)

        self.tasks.start_soon(wanted)
        await begun.wait()

    async def until_others_ended(self) -> None:
        with anyio.fail_after(5.0):
            while not self.outcomes:
                await anyio.sleep(0.001)


def descriptors_of(port: str) -> int:
    """How many descriptors of this process lead to a device."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{number}") == port
    return count


@contextlib.contextmanager
def closed_door() -> Iterator[socket.socket]:
    """A server whose queue is full: whoever connects waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first:
        first.connect(server.getsockname())
        yield server


class Setup(Operation):
    """Opening."""

    # It writes nothing and is owed nothing; its turn comes after another setup of the same link that is under way.
    moments = (Moment.EARLY, Moment.QUEUED, Moment.WAITING, Moment.ENDING)

    @asynccontextmanager
    async def bench(self) -> AsyncIterator[Doorway]:
        with PtyInstrument(answer) as instrument, closed_door() as door:
            async with anyio.create_task_group() as tasks:
                link = lt.serial(instrument.port, framing="\n", settle=0.001)
                bench = Doorway(instrument, link, raw=False)
                bench.tasks, bench.door, bench.outcomes = tasks, door, []
                yield bench
                await bench.link.stop()

    async def prepare(self, bench: Bench) -> None:
        assert isinstance(bench, Doorway)
        bench.outcomes.clear()
        if bench.moment in (Moment.QUEUED, Moment.WAITING):
            bench.link = lt.tcp(*bench.door.getsockname(), connect_timeout=60)
        if bench.moment is Moment.QUEUED:
            await bench.meanwhile(bench.link.setup)
            await until(lambda: bench.link.state == "opening", "opening")

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        assert isinstance(bench, Doorway)
        attempt.here()
        try:
            return await bench.link.setup()
        finally:
            bench.note_the_end()

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        assert isinstance(bench, Doorway)
        if bench.moment is Moment.QUEUED:
            assert bench.state_at_end == "opening", "the other setup goes on"
            assert bench.outcomes == []
            await bench.link.stop()
            await bench.until_others_ended()
            assert [type(outcome) for outcome in bench.outcomes] == [lt.LinkClosed]
        elif attempt.cancelled:
            assert bench.state_at_end == "closed"
            assert bench.held_at_end == 1, "only the instrument's own is left"
        else:
            assert attempt.value is bench.link
            assert bench.link.state == "open"
            await bench.link.stop()
        # The port is free for another link, and the same link can be set up again.
        async with lt.serial(bench.instrument.port, framing="\n", settle=0.001) as bench.link:
            await bench.next_exchange()
        async with bench.link:
            await bench.next_exchange()


class Stop(Operation):
    """Closing, which a cancellation does not stop: the link is closed when the await ends."""

    brief = True

    # It says nothing itself and is owed nothing, so it has no WAITING, OWED or FULL.
    # QUEUED: the link is still being set up. PARTLY: somebody's message is on its way.
    moments = (Moment.EARLY, Moment.QUEUED, Moment.PARTLY, Moment.ENDING)

    @asynccontextmanager
    async def bench(self) -> AsyncIterator[Doorway]:
        async with Setup().bench() as bench:
            yield bench

    async def prepare(self, bench: Bench) -> None:
        assert isinstance(bench, Doorway)
        bench.outcomes.clear()
        if bench.moment is Moment.QUEUED:
            bench.link = lt.tcp(*bench.door.getsockname(), connect_timeout=60)
            await bench.meanwhile(bench.link.setup)
            await until(lambda: bench.link.state == "opening", "opening")
        else:
            await bench.link.setup()
        if bench.moment is Moment.PARTLY:
            await bench.meanwhile(lambda: bench.link.send("x" * LONG, timeout=60))
            await until(bench.goes_out, "writing")

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        assert isinstance(bench, Doorway)
        attempt.here()
        try:
            await bench.link.stop()
        finally:
            bench.note_the_end()
        return None

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        assert isinstance(bench, Doorway)
        assert bench.state_at_end == "closed"
        assert bench.held_at_end == 1, "only the instrument's own is left"
        if bench.moment in (Moment.QUEUED, Moment.PARTLY):
            await bench.until_others_ended()
            assert [type(outcome) for outcome in bench.outcomes] == [lt.LinkClosed]
        async with lt.serial(bench.instrument.port, framing="\n", settle=0.001) as bench.link:
            await bench.link.send("")  # ends the line that may have been cut
            await bench.next_exchange()


OPENING: list[Operation] = [Setup(), Stop()]


@pytest.mark.parametrize("operation", OPENING, ids=by_name)
async def test_setup_and_stop_end_by_themselves(operation: Operation) -> None:
    await to_its_end(operation)


async def test_stop_right_after_setup_has_begun_ends_both() -> None:
    with PtyInstrument() as instrument:
        for _ in range(30):
            link = lt.serial(instrument.port)
            async with anyio.create_task_group() as tasks:
                begun = anyio.Event()

                async def set_up(link: lt.Link[str] = link, begun: anyio.Event = begun) -> None:
                    begun.set()
                    with contextlib.suppress(lt.LinkClosed):  # or it was open before it was stopped
                        await link.setup()

                tasks.start_soon(set_up)
                await begun.wait()
                await link.stop()
            state = link.state
            await link.stop()
            assert state == "closed"
