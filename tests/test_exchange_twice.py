"""A second interruption while an abort is under way skips nothing and tells nothing twice; awaits that are closed; time
limits and errors, which abort as cancellations do."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest

import labtether as lt
from support import LoopCounter
from support.exchanges import BRIEF, ERROR, FAR, HALTED, PtyMachine, effects_in, in_step, notes
from support.nurseries import settled

Work = Callable[[lt.Link[str]], Coroutine[Any, Any, object]]
talks: list[lt.Exchange[str]] = []
"""The exchange of the test that runs."""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """An exchange remembers its task, and that its loop."""
    yield
    talks.clear()


async def query(link: lt.Link[str]) -> object:
    return await link.query("MOVE", timeout=FAR, abort=HALTED)


async def exchange(link: lt.Link[str]) -> object:
    async with link.exchange(timeout=FAR, abort=HALTED) as talk:
        talks[:] = [talk]
        return await talk.query("MOVE")


async def exchange_asleep(link: lt.Link[str]) -> object:
    async with link.exchange(timeout=FAR, abort=HALTED) as talk:
        talks[:] = [talk]
        await talk.send("MOVE")
        await lt.sleep(FAR)
    return None


async def query_all(link: lt.Link[str]) -> object:
    return await link.query_all("MOVE", until="^done", timeout=FAR, abort=HALTED)


async def query_by_id(link: lt.Link[str]) -> object:
    return await link.query("#7 MOVE", timeout=FAR, abort=HALTED)


async def query_to_its_end(link: lt.Link[str]) -> object:
    return await link.query("MOVE", timeout=FAR, on_cancel="finish")


WORKS: list[Work] = [query, exchange, exchange_asleep, query_all, query_by_id]


def options_of(work: Work) -> dict[str, Any]:
    return {**BRIEF, "match": lt.ById(r"^#(\w+)", r"^#(\w+)")} if work is query_by_id else BRIEF


async def ask(link: lt.Link[str], work: Work) -> None:
    if work is query_by_id:
        assert await link.query("#1 ASK") == "#1 re ASK"
    else:
        await in_step(link)


class Child:
    """Work in a task of its own, inside two scopes, and what it raised."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.inner, self.outer = anyio.CancelScope(), anyio.CancelScope()
        self.error: BaseException | None = None
        self.task: asyncio.Task[Any] | None = None

    async def run(self, link: lt.Link[str]) -> None:
        with self.outer, self.inner:
            try:
                await self.work(link)
            except BaseException as error:
                self.error = error
                raise


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("work", [*WORKS, query_to_its_end])
async def test_further_cancellations_end_the_wait_for_the_abort_not_a_moment_sooner(work: Work, times: int) -> None:
    with PtyMachine("held") as machine:
        async with lt.serial(machine.port, **options_of(work)) as link, lt.open_nursery() as nursery:
            child = Child(work)
            handle = nursery.start_soon(child.run, link)
            await machine.until(lambda: machine.heard, "the command")
            child.inner.cancel()
            if work is query_to_its_end:
                await settled()
            else:
                await machine.until(lambda: machine.halts, "the halt")
            further: list[Callable[[], object]] = [
                child.outer.cancel,
                functools.partial(handle.cancel, "once more"),
                functools.partial(nursery.cancel, "twice more"),
            ]
            for again in further[: times - 1]:
                again()
                await settled_in_any_case()
            assert child.error is None, "it was over before the abort was"
            if work is query_to_its_end:
                machine.finish()
            else:
                machine.let_through()
        outcome = await handle.outcome()
        effect = "ran_to_completion" if work is query_to_its_end else "halted"
        effects = outcome.effects if isinstance(outcome, lt.Cancelled) else handle._effects
        assert [one[2] for one in effects] == [effect]
        assert effects_in(child.error)[-1] == effect
        assert machine.halts == (work is not query_to_its_end)


async def settled_in_any_case() -> None:
    """Let others run, although this task may have been cancelled itself."""
    with anyio.CancelScope(shield=True):
        await settled()


@pytest.mark.asyncio_only
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("again", [1, 5])
async def test_further_cancellations_of_a_task_skip_no_abort(work: Work, again: int) -> None:
    with PtyMachine("held") as machine:
        async with lt.serial(machine.port, **options_of(work)) as link:
            task = asyncio.ensure_future(work(link))
            await machine.until(lambda: machine.heard, "the command")
            task.cancel("first")
            await machine.until(lambda: machine.halts, "the halt")
            for number in range(again):
                task.cancel(f"again {number}")
                await settled()
            assert not task.done()
            machine.let_through()
            await asyncio.wait([task])
            assert task.cancelled()
            assert task.cancelling() == again + 1
            await ask(link, work)
        assert machine.halts == 1


@pytest.mark.asyncio_only
@pytest.mark.parametrize("work", [exchange, query_all, exchange_asleep])
@pytest.mark.parametrize("again", [0, 1])
async def test_the_cancellation_that_comes_out_has_one_note_on_the_effect(work: Work, again: int) -> None:
    with PtyMachine("held") as machine:
        async with lt.serial(machine.port, **BRIEF) as link:
            task = asyncio.ensure_future(work(link))
            await machine.until(lambda: machine.heard, "the command")
            task.cancel("first")
            await machine.until(lambda: machine.halts, "the halt")
            if again:
                task.cancel("again")
                await settled()
            machine.let_through()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert effects_in(caught.value) == ["halted"], notes(caught.value)


@pytest.mark.asyncio_only
@pytest.mark.parametrize("first", ["scope", "task", "both"])
@pytest.mark.parametrize("work", WORKS)
async def test_a_scope_does_not_swallow_the_cancellation_of_its_task(work: Work, first: str) -> None:
    with PtyMachine("held") as machine:
        async with lt.serial(machine.port, **options_of(work)) as link:
            child = Child(work)
            after: list[str] = []

            async def run() -> None:
                await child.run(link)
                after.append("the scope")
                await anyio.sleep(FAR)

            task = asyncio.ensure_future(run())
            await machine.until(lambda: machine.heard, "the command")
            steps: list[Callable[[], object]] = [child.inner.cancel, functools.partial(task.cancel, "from outside")]
            if first == "task":
                steps.reverse()
            steps[0]()
            if first != "both":
                await machine.until(lambda: machine.halts, "the halt")
            steps[1]()
            await settled()
            await let_through_soon(machine)
            done, _ = await asyncio.wait([task], timeout=10)
            assert done, f"its own cancellation was lost; it has passed {after}"
            assert task.cancelled()
            await ask(link, work)


async def let_through_soon(machine: PtyMachine) -> None:
    await machine.until(lambda: machine.halts, "the halt")
    machine.let_through()


@pytest.mark.parametrize("work", [exchange, exchange_asleep])
async def test_the_effect_is_known_however_often_it_was_cancelled(work: Work) -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **BRIEF) as link, lt.open_nursery() as nursery:
            handle = nursery.start_soon(work, link)
            await machine.until(lambda: machine.heard, "the command")
            handle.cancel()
            outcome = await handle.outcome()
            assert isinstance(outcome, lt.Cancelled)
            assert outcome.effects == ((link.name, None, "halted"),)
            assert talks[0].effect == "halted"


async def test_nothing_was_done_is_what_a_wait_in_a_silent_exchange_says() -> None:
    with PtyMachine() as machine:
        async with lt.serial(machine.port, **BRIEF) as link:
            caught: list[BaseException] = []
            with anyio.CancelScope() as scope:
                async with link.exchange(abort=HALTED) as talk:
                    scope.cancel()
                    try:
                        await talk.receive()
                    except BaseException as error:
                        caught.append(error)
                        raise
            assert set(effects_in(caught[0])) <= {"never_started"}, notes(caught[0])
            await in_step(link)
        assert machine.halts == 0


@pytest.mark.parametrize("work", WORKS)
async def test_nobody_else_speaks_and_the_loop_is_calm_while_an_abort_waits(work: Work) -> None:
    with PtyMachine("slowly") as machine:
        async with lt.serial(machine.port, **options_of(work)) as link, anyio.create_task_group() as tasks:
            child = Child(work)
            tasks.start_soon(child.run, link)
            await machine.until(lambda: machine.heard, "the command")
            if work is not query_by_id:  # where they are told apart by id, others do not wait
                tasks.start_soon(ask, link, work)
                await settled()
            with LoopCounter() as loop:
                child.inner.cancel()
                while child.error is None:
                    await lt.sleep(0.02)
            assert loop.turns is None or loop.turns <= 60
            assert work is query_by_id or machine.heard[1] == b"HALT"


@pytest.mark.parametrize("manner", ["answers", "deaf"])
@pytest.mark.asyncio_only
async def test_a_query_that_is_closed_is_aborted(manner: str) -> None:
    with PtyMachine(manner) as machine:
        async with lt.serial(machine.port, **BRIEF) as link:
            pending = link.query("MOVE", timeout=FAR, abort=lt.Abort("HALT", reply="^halted", timeout=0.02))
            pending.send(None)
            await machine.until(lambda: machine.heard, "the command")
            pending.close()
            await machine.until(lambda: machine.halts, "the halt")
            await in_step(link)
        assert machine.halts == 1


@pytest.mark.parametrize("manner", ["answers", "deaf"])
async def test_an_exchange_that_is_closed_is_aborted(manner: str) -> None:
    async def steps(link: lt.Link[str]) -> AsyncIterator[str]:
        abort = lt.Abort("HALT", reply="^halted", timeout=0.02)
        async with link.exchange(timeout=FAR, abort=abort) as talk:
            talks[:] = [talk]
            await talk.send("MOVE")
            yield "moving"

    with PtyMachine(manner) as machine:
        async with lt.serial(machine.port, **BRIEF) as link:
            generator: Any = steps(link)
            assert await anext(generator) == "moving"
            await generator.aclose()
            await machine.until(lambda: machine.halts, "the halt")
            await in_step(link)
        assert machine.halts == 1
        assert talks[0].effect == "unconfirmed"


@pytest.mark.parametrize(
    ("manner", "effect"),
    [("answers", "halted"), ("both", "halted"), ("deaf", "unconfirmed"), ("fails", "unconfirmed")],
)
@pytest.mark.parametrize("work", [query, exchange, query_all])
async def test_a_time_limit_aborts_too_and_its_error_has_the_effect(work: Work, manner: str, effect: str) -> None:
    abort = lt.Abort("HALT", reply="^halted", timeout=0.02 if effect == "unconfirmed" else 10)
    with PtyMachine(manner) as machine:
        async with lt.serial(machine.port, **{**BRIEF, "error": ERROR}) as link:
            with pytest.raises(lt.LinkTimeout) as caught:
                if work is query:
                    await link.query("MOVE", timeout=0.01, abort=abort)
                elif work is query_all:
                    await link.query_all("MOVE", until=2, timeout=0.01, abort=abort)
                else:
                    async with link.exchange(timeout=0.01, abort=abort) as talk:
                        await talk.query("MOVE")
            known = "halted" if manner == "fails" else effect  # it said that what was asked has failed
            assert caught.value.effect == known
            assert caught.value.command == "MOVE"
            await in_step(link)
        assert machine.halts == 1


async def test_an_error_of_the_instruments_aborts_an_exchange() -> None:
    with PtyMachine("answers") as machine:
        machine.handler = lambda command: b"ERR 3 no\n" if command == b"BAD" else machine.answer(command)
        async with lt.serial(machine.port, **{**BRIEF, "error": ERROR}) as link:
            with pytest.raises(lt.InstrumentError) as caught:
                async with link.exchange(abort=HALTED) as talk:
                    await talk.query("BAD")
            assert (caught.value.code, caught.value.text) == ("3", "no")
            assert caught.value.effect == talk.effect == "halted"
            await in_step(link)
        assert machine.halts == 1


@pytest.mark.asyncio_only
@pytest.mark.parametrize("work", [query, exchange, query_all])
async def test_wait_fors_own_limit_aborts(work: Work) -> None:
    seconds = 0.05
    while True:
        with PtyMachine() as machine:
            async with lt.serial(machine.port, **BRIEF) as link:
                with pytest.raises(TimeoutError) as caught:
                    await asyncio.wait_for(work(link), seconds)
                assert type(caught.value) is TimeoutError
                await in_step(link)
            if b"MOVE" in machine.heard:
                assert machine.halts == 1
                return
        seconds *= 4  # the machine is busy: nothing was asked yet
