"""What fails in a nursery: the first failure ends the others, all come out in one group, none is lost, none comes
twice; interrupts, nested nurseries, and failures on the way out."""

import functools
import logging

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, Stubborn, fail, forever, in_time, leaves, notes, nothing_left, settled, texts


async def test_a_failing_child_ends_the_block() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("run 7") as nursery:
                nursery.start_soon(fail)
                await forever()
        assert [type(error) for error in raised.value.exceptions] == [Oops]
        assert "1 failure in nursery 'run 7'" in str(raised.value)
        await nothing_left("run 7")


async def test_a_failing_child_ends_its_siblings() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery() as nursery:
                sibling = nursery.start_soon(forever)
                await settled()
                nursery.start_soon(fail, name="the pump")
        assert await sibling.outcome() == lt.Cancelled("the pump failed")
        assert nursery.reason == "the pump failed"


async def test_a_failing_block_ends_the_children() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                child = nursery.start_soon(forever)
                await settled()
                raise Oops("block")
        assert texts(raised.value) == ["block"]
        assert await child.outcome() == lt.Cancelled("its block failed")


async def test_a_block_that_fails_before_its_child_began() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                child = nursery.start_soon(forever)
                raise Oops("block")
        assert texts(raised.value) == ["block"]
        assert isinstance(await child.outcome(), lt.Cancelled)


async def test_a_failing_block_without_children_is_in_a_group_too() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with lt.open_nursery():
            raise Oops("alone")
    assert [str(error) for error in raised.value.exceptions] == ["alone"]


async def test_two_children_fail_in_the_same_turn() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(fail, "a")
                nursery.start_soon(fail, "b")
        assert sorted(str(error) for error in raised.value.exceptions) == ["a", "b"]
        assert "2 failures" in str(raised.value)


async def test_block_and_child_fail() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(Stubborn(lambda: fail("child")))
                await settled()
                raise Oops("block")
        assert sorted(str(error) for error in raised.value.exceptions) == ["block", "child"]


async def test_a_sibling_that_fails_on_being_cancelled_is_reported_too() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(Stubborn(functools.partial(fail, f"cleanup {number}")))
                await settled()
                nursery.start_soon(fail, "first")
        assert texts(raised.value) == ["cleanup 0", "cleanup 1", "cleanup 2", "first"]
        assert len(raised.value.exceptions) == 4


async def test_a_failure_while_it_is_being_cancelled_is_not_silent() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(Stubborn(lambda: fail("late")))
                await settled()
                nursery.cancel("enough")
        assert texts(raised.value) == ["late"]


async def test_hundred_failures_none_lost_none_twice() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(fail, f"{number:03}")
        assert [str(error) for error in sorted(raised.value.exceptions, key=str)] == [f"{n:03}" for n in range(100)]
        assert len({id(error) for error in raised.value.exceptions}) == 100


async def test_the_same_error_object_out_of_two_children() -> None:
    error = Oops("shared")

    async def raise_it() -> None:
        raise error

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                first, second = nursery.start_soon(raise_it), nursery.start_soon(raise_it)
        assert set(raised.value.exceptions) == {error}
        assert isinstance(await first.outcome(), lt.Failed)
        assert isinstance(await second.outcome(), lt.Failed)


async def test_a_childs_own_group_stays_a_group() -> None:
    async def child() -> None:
        raise ExceptionGroup("my own", [Oops("a"), Oops("b")])

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(child)
        assert [str(error) for error in raised.value.exceptions] == ["my own (2 sub-exceptions)"]


async def test_the_group_of_a_childs_own_task_group_stays_a_group() -> None:
    """As in anyio and trio (which makes a copy of it, of the same errors)."""

    async def child() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail, "inside")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(child)
        outcome = await handle.outcome()
        assert isinstance(outcome, lt.Failed)
        (inner,) = raised.value.exceptions
        assert isinstance(inner, ExceptionGroup)
        assert leaves(inner) == leaves(outcome.error)


async def test_the_group_of_the_blocks_own_task_group_stays_a_group() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fail, "inside")
        assert [type(error) for error in raised.value.exceptions] == [ExceptionGroup]
        assert texts(raised.value) == ["inside"]


async def test_except_star_takes_it_apart() -> None:
    caught: list[str] = []
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            try:
                async with lt.open_nursery() as nursery:
                    nursery.start_soon(fail, "oops")
                    nursery.start_soon(Stubborn(lambda: anyio.to_thread.run_sync(int, "x")))
                    await settled()
            except* Oops as group:
                caught += texts(group)
        assert caught == ["oops"]
        assert [type(leaf) for leaf in leaves(raised.value)] == [ValueError]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_in_the_block_comes_out_in_a_base_group(kind: type[BaseException]) -> None:
    async with in_time():
        with pytest.raises(BaseExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                sibling = nursery.start_soon(forever)
                raise kind("stop")
        assert not isinstance(raised.value, ExceptionGroup)
        assert [type(leaf) for leaf in raised.value.exceptions] == [kind]
        assert sibling.done
        await nothing_left("nursery")


@pytest.mark.leaves_open("asyncio logs what broke out of its loop, and pytest keeps the record with its frames")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["start_soon", "service"])
@pytest.mark.parametrize("run", ["asyncio", "uvloop", "trio"])
def test_an_interrupt_in_a_child_comes_out_in_a_base_group(kind: type[BaseException], where: str, run: str) -> None:
    """asyncio throws these out of the loop at once as well, and then cancels the main task."""
    seen: list[BaseException] = []

    async def child() -> None:
        raise kind("stop")

    async def main() -> None:
        try:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(forever)
                getattr(nursery, where)(child)
                await forever()
        except BaseException as error:
            seen.append(error)
            raise

    backend = "trio" if run == "trio" else "asyncio"
    with pytest.raises((kind, BaseExceptionGroup)):
        anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if run == "uvloop" else {})
    assert isinstance(seen[0], BaseExceptionGroup)
    assert [type(leaf) for leaf in seen[0].exceptions] == [kind]


async def test_an_interrupt_beside_a_failure() -> None:
    async with in_time():
        with pytest.raises(BaseExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(Stubborn(lambda: fail("child")))
                await settled()
                raise KeyboardInterrupt
        assert sorted(type(leaf).__name__ for leaf in raised.value.exceptions) == ["KeyboardInterrupt", "Oops"]


async def test_a_failure_says_where_it_was() -> None:
    async def child() -> None:
        with lt.situation("heating to 95 C"):
            raise Oops("too hot")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("pcr") as nursery:
                nursery.start_soon(child, name="thermocycler")
        said = notes(raised.value.exceptions[0])
        assert "'thermocycler' of nursery 'pcr'" in said
        assert "heating to 95 C" in said


async def test_a_failure_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "labtether")
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery("pcr") as nursery:
                nursery.start_soon(Stubborn(settled))
                nursery.start_soon(fail, name="lid")
                with anyio.CancelScope(shield=True):
                    await settled()
                    assert any("lid failed in nursery pcr" in line for line in caplog.messages)
