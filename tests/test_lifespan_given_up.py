"""Lifespans that misbehave, and those that others would cut short: what is given up touches nothing any more, is told
of, and its instrument is parked all the same (laws 3, 6, 7 and 8)."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.lowlevel
import pytest

import labtether as lt
from labtether._instrument import standing
from labtether.testing import ScriptedInstrument
from support.child import run_child
from support.exchanges import until_sync
from support.scales import Balance, Scale, balance


@pytest.fixture
def told() -> Iterator[ScriptedInstrument]:
    with balance() as told:
        told.when("SLOW").reply("at last", after=0.3)
        yield told


class Slow(Balance):
    """Takes its time to close."""

    async def lifespan(self) -> AsyncIterator[None]:
        async with self.link:
            await self.link.query("@")
            yield
            await self.link.query("SLOW")
            await self.link.query("P")


async def parted(told: ScriptedInstrument, words: list[str]) -> None:
    """Rust's last words are read when the instrument comes to it."""
    with anyio.fail_after(10):
        while told.heard != words:
            await anyio.sleep(0.001)


async def cancelled() -> None:
    raise asyncio.CancelledError


async def heard(told: ScriptedInstrument, what: str) -> None:
    with anyio.fail_after(10):
        while what not in told.heard:
            await anyio.sleep(0.001)


@pytest.mark.asyncio_only
async def test_who_cancels_every_task_does_not_cancel_a_closing_part(told: ScriptedInstrument) -> None:
    scale = await Slow(told.port).setup()
    stopping = asyncio.ensure_future(scale.stop())
    await heard(told, "SLOW")
    for _ in range(3):
        others = [task for task in asyncio.all_tasks() if task.get_name() in ("Slow", stopping.get_name())]
        assert len(others) == 2
        for task in others:
            task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert scale.state == "closed"
    assert told.heard == ["@", "SLOW", "P"]


def test_a_loop_that_ends_while_another_thread_stops_finishes_the_closing_part(told: ScriptedInstrument) -> None:
    scale = Slow(told.port)

    async def main() -> threading.Thread:
        await scale.setup()
        thread = threading.Thread(target=scale.sync.stop)
        thread.start()
        await heard(told, "SLOW")
        return thread

    asyncio.run(main()).join()
    assert told.heard == ["@", "SLOW", "P"]


async def test_a_closing_part_that_is_cut_short_is_an_error_and_rust_parks(told: ScriptedInstrument) -> None:
    class Cancelling(Balance):
        close_timeout = 0.05

        async def lifespan(self, forever: bool) -> AsyncIterator[None]:
            async with self.link:
                yield
                if forever:
                    await anyio.sleep_forever()
                await asyncio.ensure_future(cancelled())
                await self.link.query("P")

    scale = Cancelling(told.port)
    await scale.setup(forever=True)
    with pytest.raises(lt.CleanupTimeout):
        await scale.stop()
    await parted(told, ["RUST"])
    if lt._core.in_trio():
        return  # nobody can raise trio's cancellation
    await scale.setup(forever=False)
    with pytest.raises(RuntimeError, match="the closing part of Cancelling was cancelled from inside"):
        await scale.stop()
    await parted(told, ["RUST", "RUST"])


async def test_links_that_the_lifespan_leaves_open_are_parked_by_rust_where_it_is_cut_short(
    told: ScriptedInstrument,
) -> None:
    class Careless(Balance):
        close_timeout = 0.05

        async def lifespan(self) -> AsyncIterator[None]:
            await self.link.setup()
            yield
            await anyio.sleep_forever()

    with pytest.raises(lt.CleanupTimeout):
        async with Careless(told.port):
            await anyio.lowlevel.checkpoint()
    await parted(told, ["RUST"])


def test_asyncios_own_timeouts_work_in_a_closing_part_at_the_end_of_its_loop(told: ScriptedInstrument) -> None:
    class Timed(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                yield
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await asyncio.Event().wait()
                await self.link.query("P")

    scale = Timed(told.port)
    asyncio.run(scale.setup())
    assert told.heard == ["P"]


async def test_an_opening_that_was_given_up_touches_nothing_when_it_goes_on(told: ScriptedInstrument) -> None:
    stuck, free = anyio.Event(), anyio.Event()

    class Stubborn(Balance):
        close_timeout = 0.05

        async def lifespan(self, stubborn: bool) -> AsyncIterator[None]:
            async with self.link:
                if stubborn:
                    stuck.set()
                    with anyio.CancelScope(shield=True):
                        while not free.is_set():
                            try:
                                await free.wait()
                            except asyncio.CancelledError:
                                continue
                await self.link.query("@")
                yield
                await self.link.query("P")

    scale = Stubborn(told.port)
    async with anyio.create_task_group() as group:

        async def set_up() -> None:
            with pytest.raises(lt.LinkClosed):
                await scale.setup(stubborn=True)

        group.start_soon(set_up)
        await stuck.wait()
        with pytest.raises(lt.CleanupTimeout, match=r"it did not end within 2\.05 s"):
            await scale.stop()
    await scale.setup(stubborn=False)
    free.set()
    await anyio.wait_all_tasks_blocked()
    assert (scale.state, scale.link.state) == ("open", "open")
    assert await scale.weigh() == 1.5
    await scale.stop()
    assert told.heard == ["RUST", "@", "S", "P"]


async def test_a_setup_or_stop_from_inside_is_refused(told: ScriptedInstrument) -> None:
    class Again(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            await self.setup()
            yield

    with pytest.raises(RuntimeError, match="cannot be set up from inside its own lifespan"):
        await Again(told.port).setup()


async def test_a_setup_after_a_stop_does_not_join_the_one_that_is_being_undone(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    async with anyio.create_task_group() as group:

        async def first() -> None:
            with pytest.raises(lt.LinkClosed):
                await scale.setup(hello="HANG")

        group.start_soon(first)
        await heard(told, "HANG")
        group.start_soon(scale.stop)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        await scale.setup()
    assert await scale.weigh() == 1.5
    await scale.stop()


async def test_what_somebody_was_told_is_set_up_is_not_undone_for_another(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    kept = anyio.Event()

    async def keep() -> None:
        await scale.setup()
        kept.set()

    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as first:
            first.start_soon(scale.setup)
            while scale.state != "open":
                await anyio.lowlevel.checkpoint()
            await scale.setup()
            first.cancel_scope.cancel()
        assert scale.state == "open"
        group.start_soon(keep)
        with anyio.CancelScope() as scope:
            group.start_soon(scale.setup)
            await kept.wait()
            scope.cancel()
        with pytest.raises(ValueError, match="another's"):
            await lt.setup(scale, Failing())
    assert scale.state == "open"
    await scale.stop()


class Failing(lt.Instrument):
    async def lifespan(self, closing: bool = False) -> AsyncIterator[None]:
        if not closing:
            raise ValueError("another's")
        yield
        raise ValueError("while parking")


async def test_failures_that_nobody_waits_for_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Parking(Failing):
        async def lifespan(self, closing: bool = True) -> AsyncIterator[None]:
            yield
            raise ValueError("while parking")

    with anyio.move_on_after(5) as scope:
        async with Parking():
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert "Parking: its closing part failed: ValueError('while parking')" in caplog.text
    caplog.clear()
    known = standing(await Parking().setup()).host
    assert known is not None
    known.tell()
    await known.over.wait()
    assert "Parking: its closing part failed: ValueError('while parking')" in caplog.text


async def test_a_parking_message_outside_its_link_is_the_authors_mistake(told: ScriptedInstrument) -> None:
    class Dedented(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                yield
            await self.link.query("P")

    scale = await Dedented(told.port).setup()
    with pytest.raises(lt.LinkClosed, match="balance is closed: it is not set up"):
        await scale.stop()


async def test_a_blocking_call_that_needs_the_loop_of_its_thread_is_refused_at_once(told: ScriptedInstrument) -> None:
    first, second = await Scale(told.port).setup(), Scale(told.port)
    with pytest.raises(RuntimeError, match="lives in the event loop that runs in this thread"):
        second.sync.setup(replace=True)
    with pytest.raises(RuntimeError, match="lives in the event loop that runs in this thread"):
        lt.lifecycle.sync.stop()
    assert [first.state, second.state] == ["open", "closed"]
    await first.stop()


@pytest.mark.parametrize(
    ("limit", "error"), [(None, TypeError), ("x", TypeError), (-1.0, ValueError), (float("nan"), ValueError)]
)
async def test_a_limit_that_is_none_is_refused_before_anything_is_opened(
    told: ScriptedInstrument, limit: float, error: type[Exception]
) -> None:
    scale = Scale(told.port)
    scale.close_timeout = limit  # type: ignore[misc]
    with pytest.raises(error, match="close_timeout"):
        await scale.setup()
    assert (scale.state, scale.link.state) == ("closed", "closed")


async def test_a_users_own_names_are_his(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    for name in ("_host", "_links", "_label", "_age", "links", "age", "problem", "host", "key", "kind"):
        setattr(scale, name, "192.168.0.5")
    async with scale:
        assert "open" in repr(scale)
        assert scale._repr_mimebundle_()["text/html"]


def test_an_interrupted_blocking_setup_leaves_nothing(told: ScriptedInstrument) -> None:
    def click(_: object) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "ready"

    told.expect("INTERRUPT").reply(click)
    scale = Scale(told.port)
    with pytest.raises(KeyboardInterrupt):
        scale.sync.setup(hello="INTERRUPT")
    assert (scale.state, scale.link.state) == ("closed", "closed")
    with scale.sync as face:
        assert face.weigh() == 1.5


def test_after_a_fork_the_blocking_face_says_what_to_do(told: ScriptedInstrument) -> None:
    ended = run_child(
        """
        import os, sys, time, warnings
        warnings.simplefilter("ignore")
        import labtether as lt
        from support.scales import Scale
        scale = Scale(sys.argv[1]).sync.setup()
        child = os.fork()
        if child == 0:
            began = time.monotonic()
            for use in (scale.weigh, scale.setup, scale.stop, lt.lifecycle.sync.stop):
                try:
                    use()
                except lt.ForkedProcess:
                    print("refused", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(scale.weigh())
        scale.stop()
        """,
        told.port,
    )
    assert ended.stdout.split()[-1] == "1.5"
    assert ended.stdout.count("refused") >= 3
    assert told.heard == ["@", "S", "P"]


def test_a_loop_that_blocks_at_the_end_of_the_process_does_not_keep_rust_from_parking(told: ScriptedInstrument) -> None:
    ended = run_child(
        """
        import asyncio, sys, time
        from support.scales import Balance
        class Blocking(Balance):
            async def lifespan(self):
                async with self.link:
                    yield
                    time.sleep(4)
        loop = asyncio.new_event_loop()
        scale = Blocking(sys.argv[1])
        loop.run_until_complete(scale.setup())
        loop.close = lambda: None
        print("ends", flush=True)
        """,
        told.port,
    )
    assert ended.stdout == "ends\n"
    until_sync(lambda: told.heard == ["RUST"])
    assert "labtether: Blocking was closed at the end of the process, not by its own closing part" in ended.stderr
