"""The rows of the cancel matrix that move raw bytes: a cancelled read keeps its bytes for the next (law 3)."""

from typing import ClassVar

import pytest

from test_cancel_means import Attempt
from test_cancel_operations import LONG, Bench, Moment, Operation, by_name, to_its_end, until

DATA = b"0123#5"


class Read(Operation):
    """So many bytes."""

    raw = True
    # It writes nothing; but it waits for its turn, and for what the line owes.
    moments = (Moment.EARLY, Moment.QUEUED, Moment.OWED, Moment.WAITING, Moment.ENDING)
    whole: ClassVar[bytes] = DATA

    async def prepare(self, bench: Bench) -> None:
        if bench.moment is Moment.WAITING and len(self.whole) > 1:
            # A part is there: it is not given, and it stays.
            bench.instrument.send(DATA[:2])
            bench.sent = 2
            await until(lambda: any(event.direction == "<" for event in bench.link.trace()), "hearing the first bytes")

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        return await bench.link.read(len(self.whole))

    async def complete(self, bench: Bench) -> None:
        bench.instrument.send(DATA[bench.sent :])
        bench.sent = len(DATA)

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        if bench.sent < len(DATA):
            await self.complete(bench)
        bench.sent = 0
        taken = b""
        if not attempt.cancelled:
            assert isinstance(attempt.value, bytes)
            assert attempt.value == DATA[: len(attempt.value)]
            taken = attempt.value
        assert taken + await bench.link.read(len(DATA) - len(taken)) == DATA if len(taken) < len(DATA) else True
        await bench.next_exchange()


class ReadUntil(Read):
    """Up to an end."""

    whole = b"0123#"

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        return await bench.link.read_until("#")


class ReadSome(Read):
    """What there is."""

    whole = b"0"

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        attempt.here()
        return await bench.link.read_some()


class Write(Operation):
    """Bytes that go out: whole, or as far as they had gone."""

    raw = True
    # It waits for its turn, but not for what the line owes, and not for an answer.
    moments = (Moment.EARLY, Moment.QUEUED, Moment.FULL, Moment.PARTLY, Moment.ENDING)

    async def call(self, bench: Bench, attempt: Attempt) -> object:
        bench.sent = len(bench.instrument.received)
        data = b"x" * (LONG if bench.moment is Moment.PARTLY else 3)
        attempt.here()
        await bench.link.write(data)
        return None

    async def arrive(self, bench: Bench) -> None:
        if bench.moment is Moment.PARTLY:
            await until(bench.goes_out, "writing")

    async def afterwards(self, bench: Bench, attempt: Attempt) -> None:
        await bench.link.write(b"\n")  # ends the line that may have been cut
        await bench.next_exchange()
        before = bytes(bench.instrument.received[bench.sent :]).partition(b"\n")[0]
        assert set(before) <= {ord("x")}
        if bench.moment in (Moment.QUEUED, Moment.FULL):
            assert before == b""
        elif bench.moment is Moment.PARTLY:
            assert 0 < len(before) < LONG, "what has not gone is not sent"
        else:
            assert len(before) == 3 if attempt.error is None else len(before) in (0, 3)


RAW: list[Operation] = [Read(), ReadUntil(), ReadSome(), Write()]


@pytest.mark.parametrize("operation", RAW, ids=by_name)
async def test_each_raw_operation_ends_by_itself(operation: Operation) -> None:
    await to_its_end(operation)
