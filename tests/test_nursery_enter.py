"""`nursery.enter`: context managers, links among them, that live as long as the nursery: their entering, their ends and
their failures."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import labtether as lt
from labtether import _keeping
from support import PtyInstrument, replies
from support.nurseries import (
    Hardware,
    Oops,
    forever,
    in_time,
    in_tree,
    leaves,
    nothing_left,
    settled,
    texts,
    until,
    value_of,
)


async def test_entering_gives_what_the_context_manager_gives() -> None:
    @contextlib.asynccontextmanager
    async def answer() -> AsyncIterator[int]:
        yield 42

    async with in_time(), lt.open_nursery() as nursery:
        assert await nursery.enter(answer()) == 42
        balance = await nursery.enter(lt.link("sim://balance", name="scale"))
        assert (await balance.query("I4")).startswith("I4 A")
        assert nursery.tree().find("scale") is not None
    assert balance.state == "closed"


@pytest.mark.parametrize("what", [5, None, forever, contextlib.nullcontext])
async def test_what_is_no_context_manager_is_refused(what: Any) -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(TypeError, match="async context manager"):
            await nursery.enter(what)
        assert nursery.children == ()


async def test_a_failure_on_entering_is_the_callers() -> None:
    class Broken:
        async def __aenter__(self) -> None:
            await anyio.lowlevel.checkpoint()
            raise Oops("no port")

        async def __aexit__(self, *_: object) -> None:
            pytest.fail("was left without having been entered")

    before = Hardware()
    async with in_time():
        async with lt.open_nursery() as nursery:
            await nursery.enter(before)
            with pytest.raises(Oops, match="no port"):
                await nursery.enter(Broken())
            with pytest.raises(lt.OpenFailed):
                await nursery.enter(lt.serial("/dev/not-there"))
            assert nursery.reason is None
            assert len(nursery.children) == 1
        assert before.diary == ["enter hardware", "leave hardware"]


async def test_a_failure_on_leaving_is_the_nurserys_and_the_rest_is_still_left() -> None:
    @contextlib.asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        yield
        raise Oops("does not close")

    below = Hardware("below")
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(below)
                await nursery.enter(broken())
                await nursery.enter(broken())
        assert [str(error) for error in raised.value.exceptions] == ["does not close"] * 2
        assert below.diary == ["enter below", "leave below"]


async def test_a_context_manager_sees_how_the_nursery_ends() -> None:
    hardware = Hardware()
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(hardware)
                raise Oops("block")
        assert hardware.seen is not None
        assert texts(hardware.seen) == ["block"]
        assert texts(raised.value) == ["block"]
        good = Hardware()
        async with lt.open_nursery() as nursery:
            await nursery.enter(good)
        assert good.seen is None


async def test_a_context_manager_does_not_swallow_the_nurserys_error() -> None:
    """It belongs to the nursery; `nursery.enter` is no `async with`."""

    @contextlib.asynccontextmanager
    async def swallow() -> AsyncIterator[None]:
        with contextlib.suppress(Exception):
            yield

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(swallow())
                raise Oops("block")
        assert texts(raised.value) == ["block"]


async def test_an_error_that_a_context_manager_replaces_is_reported_beside() -> None:
    @contextlib.asynccontextmanager
    async def replace() -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            raise Oops("replaced") from error

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(replace())
                raise Oops("block")
        assert texts(raised.value) == ["block", "replaced"]


async def test_a_context_manager_with_a_task_group_of_its_own() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await forever()
        finally:
            ended.append("background")

    @contextlib.asynccontextmanager
    async def machine() -> AsyncIterator[str]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(background)
            yield "ready"
            tasks.cancel_scope.cancel()

    async with in_time():
        async with lt.open_nursery() as nursery:
            assert await nursery.enter(machine()) == "ready"
            assert await nursery.enter(machine()) == "ready"
            nursery.start_soon(value_of, 1)
        assert ended == ["background"] * 2
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(machine())
                await nursery.enter(machine())
                await settled()
                raise Oops("block")
        assert ended == ["background"] * 4
        assert [type(leaf) for leaf in leaves(raised.value)] == [Oops], "none twice"


async def test_the_background_of_a_context_manager_fails() -> None:
    go = anyio.Event()

    async def background() -> None:
        await go.wait()
        raise Oops("background")

    @contextlib.asynccontextmanager
    async def machine() -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(background)
            yield

    async with in_time(3.0):
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(machine())
                go.set()
                await forever()
        assert texts(raised.value) == ["background"]


async def test_a_cancelled_entering_leaves_nothing_entered() -> None:
    hardware = Hardware()
    reached = anyio.Event()

    @contextlib.asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        async with hardware:
            reached.set()
            await forever()
            yield

    async with in_time():
        async with lt.open_nursery() as nursery:
            with anyio.CancelScope() as scope:

                async def cancel() -> None:
                    await reached.wait()
                    scope.cancel()

                nursery.start_soon(cancel)
                await nursery.enter(slow())
            assert scope.cancelled_caught
            assert hardware.diary == ["enter hardware", "leave hardware"]
            assert nursery.children == ()
            assert nursery.reason is None


async def test_cancelled_in_the_last_step_of_entering() -> None:
    """Entered or not, the wait ends, and whatever was entered is left."""
    diary: list[str] = []
    hung: list[str] = []

    class Sudden:
        async def __aenter__(self) -> None:
            diary.append("enter")
            scope.cancel()

        async def __aexit__(self, *_: object) -> None:
            diary.append("leave")

    async def free_it() -> None:
        """A wait that hangs here is shielded from every scope: closed by hand, the test fails and does not hang."""
        await anyio.sleep(3.0)
        hung.extend(diary)
        for host in nursery._keeping._hosts:
            host._close_now()

    async with in_time(), anyio.create_task_group() as tasks:
        tasks.start_soon(free_it)
        async with lt.open_nursery() as nursery:
            with anyio.CancelScope() as scope:
                await nursery.enter(Sudden())
        tasks.cancel_scope.cancel()
    assert hung == []
    assert diary == ["enter", "leave"]


async def test_what_does_not_close_is_cancelled_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_keeping, "CLOSING", 0.05)

    class Stuck(Hardware):
        async def __aexit__(self, *_: object) -> None:
            await forever()

    below = Hardware("below")
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(below)
                await nursery.enter(Stuck("shutter"))
        (error,) = raised.value.exceptions
        assert isinstance(error, lt.CleanupTimeout)
        assert error.stuck == ["shutter"]
        assert below.diary[-1] == "leave below"


async def test_what_was_entered_can_be_closed_early_by_its_handle() -> None:
    hardware = Hardware("lamp")
    async with in_time():
        async with lt.open_nursery() as nursery:
            await nursery.enter(hardware)
            (handle,) = nursery.children
            assert handle.name == "lamp"
            handle.cancel()
            await handle.outcome()
            assert hardware.diary == ["enter lamp", "leave lamp"]
            assert nursery.reason is None
        assert hardware.diary == ["enter lamp", "leave lamp"]


async def test_a_child_enters_it_and_it_stays_until_the_nursery_ends() -> None:
    hardware = Hardware()

    async def prepare() -> None:
        with anyio.CancelScope() as scope:
            await nursery.enter(hardware)
            scope.cancel()

    async with in_time():
        async with lt.open_nursery() as nursery:
            await nursery.start_soon(prepare)
            await settled()
            assert hardware.diary == ["enter hardware"]
        assert hardware.diary == ["enter hardware", "leave hardware"]


async def test_a_lost_link_fails_the_nursery(tmp_path: Path) -> None:
    with PtyInstrument(replies({b"ID": b"me\n"}), at=tmp_path / "tty") as pty:
        async with in_time():
            with pytest.raises(ExceptionGroup) as raised:
                async with lt.open_nursery("run 7") as nursery:
                    scale = await nursery.enter(lt.link(pty.url, name="scale"))
                    assert await scale.query("ID") == "me"
                    child = nursery.start_soon(forever)
                    pty.unplug()
                    await forever()
            assert [type(error) for error in raised.value.exceptions] == [lt.LinkLost]
            assert await child.outcome() == lt.Cancelled("scale failed")
            assert scale.state == "closed"
            await nothing_left("run 7", "scale")


async def test_a_lost_link_beside_the_child_that_was_asking(tmp_path: Path) -> None:
    with PtyInstrument(at=tmp_path / "tty") as pty:
        async with in_time():
            with pytest.raises(ExceptionGroup) as raised:
                async with lt.open_nursery() as nursery:
                    scale = await nursery.enter(lt.link(pty.url, name="scale"))

                    async def ask() -> None:
                        await scale.query("S", timeout=60)

                    nursery.start_soon(ask)
                    await until(lambda: bool(pty.heard))
                    pty.unplug()
            assert {type(error) for error in raised.value.exceptions} == {lt.LinkLost}
            assert len({id(error) for error in raised.value.exceptions}) == len(raised.value.exceptions)


async def test_two_nurseries_with_the_same_name_are_both_in_the_tree() -> None:
    async with in_time():
        async with lt.open_nursery("twin"):
            async with lt.open_nursery("twin"):
                assert sum(one.name == "twin" for one in lt.lifecycle.tree().walk()) == 2
            assert in_tree("twin")
        assert not in_tree("twin")
