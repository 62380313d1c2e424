"""The cancel matrix: every awaitable operation, at every moment it has, by every means there is, on every loop (law 2).

Whatever the combination: the await ends within its bound and by its own cancellation, after Rust has ended the work; no
byte is lost; the next exchange gets its own answer; the loop did not spin meanwhile.
"""

import time

import anyio.lowlevel
import pytest

from test_cancel_means import KNOWN_AT_ONCE, NEVER_EARLY, ON_ASYNCIO, ON_TRIO, Attempt, Means
from test_cancel_oneway import ONE_WAY
from test_cancel_operations import ASKING, Moment, Operation
from test_cancel_raw import RAW
from test_cancel_setup import OPENING

OPERATIONS: list[Operation] = [*ASKING, *ONE_WAY, *RAW, *OPENING]


def matrix(means: list[Means]) -> list[object]:
    """Every combination there is: an operation says which moments it has, and a means whether it can come early."""
    return [
        pytest.param(operation, moment, one, id=f"{operation.name}-{moment.name}-{one.__name__}")
        for operation in OPERATIONS
        for moment in operation.moments
        for one in means
        if not (moment is Moment.EARLY and one in NEVER_EARLY)
    ]


async def cancel(operation: Operation, moment: Moment, means: Means, *, strictly: bool) -> None:
    async with operation.bench() as bench:
        await bench.arrange(moment)
        await operation.prepare(bench)
        attempt = Attempt(lambda attempt: operation.call(bench, attempt), early=moment is Moment.EARLY)

        async def drive() -> None:
            await attempt.reached.wait()
            await operation.arrive(bench)
            attempt.cancel()

        await means(attempt, drive)
        # An await that is ready at once ends before its loop tells it of anything, unless trio knew beforehand.
        early = moment is Moment.EARLY and not strictly
        if attempt.error is not None or not (early or operation.brief):
            attempt.assert_ended_well()
        await bench.relieve()
        await operation.afterwards(bench, attempt)


RACES = [
    (order, pause)
    for order in ("cancel, a turn of the loop, then the end", "cancel, then the end", "the end, then cancel")
    for pause in (0.0, 50e-6, 200e-6, 1e-3)
]


async def race(operation: Operation, means: Means) -> None:
    """The cancellation and the end of the work meet; either may win, but nothing is lost and nothing is taken twice."""
    async with operation.bench() as bench:
        for order, pause in RACES:
            await bench.arrange(Moment.ENDING)
            await operation.prepare(bench)
            attempt = Attempt(lambda attempt: operation.call(bench, attempt))

            async def drive(order: str = order, pause: float = pause, attempt: Attempt = attempt) -> None:
                await attempt.reached.wait()
                await operation.arrive(bench)
                if order == "the end, then cancel":
                    await operation.complete(bench)
                    time.sleep(pause)  # the loop looks away, so that both have happened when it looks again
                    attempt.cancel()
                else:
                    attempt.cancel()
                    if order != "cancel, then the end":
                        await anyio.lowlevel.checkpoint()
                    time.sleep(pause)
                    await operation.complete(bench)

            await means(attempt, drive)
            assert attempt.error is None or attempt.cancelled
            await operation.afterwards(bench, attempt)


async def check(operation: Operation, moment: Moment, means: Means, *, strictly: bool = False) -> None:
    if moment is Moment.ENDING:
        await race(operation, means)
    else:
        await cancel(operation, moment, means, strictly=strictly)


@pytest.mark.asyncio_only
@pytest.mark.parametrize(("operation", "moment", "means"), matrix(ON_ASYNCIO))
async def test_a_cancelled_await_on_asyncio(operation: Operation, moment: Moment, means: Means) -> None:
    await check(operation, moment, means)


@pytest.mark.trio_only
@pytest.mark.parametrize(("operation", "moment", "means"), matrix(ON_TRIO))
async def test_a_cancelled_await_on_trio(operation: Operation, moment: Moment, means: Means) -> None:
    await check(operation, moment, means, strictly=means in KNOWN_AT_ONCE)
