"""The rows of the cancel matrix that go one way: a message nobody answers, and messages nobody asked for (law 3)."""

import pytest

from test_cancel_means import Attempt
from test_cancel_operations import LONG, Bench, Moment, Operation, by_name, to_its_end, until


class Send(Operation):
    """One way: nothing is owed for it."""

    # It waits for its turn, but not for what the line owes, and not for an answer.
    moments = (Moment.EARLY, Moment.QUEUED, Moment.FULL, Moment.PARTLY, Moment.ENDING)

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        await bench.link.send("x" * (LONG if bench.moment is Moment.PARTLY else 1))
        return None

    async def arrive(self, bench: Bench) -> None:
        if bench.moment is Moment.PARTLY:
            await until(bench.goes_out, "writing")

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        await bench.next_exchange()
        if bench.moment in (Moment.QUEUED, Moment.FULL):
            assert not bench.was_heard(b"x"), "cancelled before its first byte, nothing is sent"
        elif bench.moment is Moment.PARTLY:
            assert bench.was_heard(b"x" * LONG), "what was begun is sent whole"
        elif not attempt.cancelled:
            assert bench.was_heard(b"x")


class Receive(Operation):
    """The next message that nobody asked for."""

    # It takes no turn and writes nothing.
    moments = (Moment.EARLY, Moment.WAITING, Moment.ENDING)

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        return await bench.link.receive()

    async def complete(self, bench: Bench) -> None:
        bench.instrument.send(b"unasked\n")

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        if bench.moment is not Moment.ENDING:
            await self.complete(bench)
        # It is not lost: it was given, or it is the next.
        assert (await bench.link.receive() if attempt.cancelled else attempt.value) == "unasked"
        await bench.next_exchange()


class MessagesStep(Receive):
    """One step of an iteration over messages."""

    async def prepare(self, bench: Bench) -> None:
        bench.readings = bench.link.messages()
        await bench.readings.__aenter__()

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        return await anext(bench.readings)

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        if bench.moment is not Moment.ENDING:
            await self.complete(bench)
        assert (await anext(bench.readings) if attempt.cancelled else attempt.value) == "unasked"
        bench.readings.close()
        await bench.next_exchange()


ONE_WAY: list[Operation] = [Send(), Receive(), MessagesStep()]


@pytest.mark.parametrize("operation", ONE_WAY, ids=by_name)
async def test_each_one_way_operation_ends_by_itself(operation: Operation) -> None:
    await to_its_end(operation)
