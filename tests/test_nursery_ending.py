"""How a nursery is ended: its own timeout, `cancel`, grace, `stopping`; and Rust children beside Python's."""

import contextlib
import logging
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import (
    FAR,
    Hardware,
    Oops,
    Stubborn,
    fail,
    forever,
    in_thread,
    in_time,
    leaves,
    nothing_left,
    settled,
    texts,
    until,
    value_of,
)


async def test_a_timeout_raises_alone() -> None:
    async with in_time():
        with pytest.raises(TimeoutError, match=r"nursery 'run 7' did not end within 0\.01 s"):
            async with lt.open_nursery("run 7", timeout=0.01) as nursery:
                handle = nursery.start_soon(forever)
        assert isinstance(await handle.outcome(), lt.Cancelled)
        assert nursery.stopping.is_set()
        await nothing_left("run 7")


async def test_a_timeout_ends_the_block_too() -> None:
    async with in_time():
        with pytest.raises(TimeoutError):
            async with lt.open_nursery(timeout=0):
                await forever()


async def test_a_timeout_that_is_not_reached() -> None:
    async with in_time():
        for timeout in (None, FAR, float("inf")):
            async with lt.open_nursery(timeout=timeout) as nursery:
                assert await nursery.start_soon(value_of, 5) == 5
            assert nursery.reason is None


async def test_a_timeout_beside_a_failure_is_in_the_group() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery(timeout=0.01) as nursery:
                nursery.start_soon(Stubborn(lambda: fail("cleanup")))
        assert {type(error) for error in raised.value.exceptions} == {TimeoutError, Oops}
        assert len(raised.value.exceptions) == 2


async def test_a_childs_own_timeout_error_is_no_timeout_of_the_nursery() -> None:
    async def child() -> None:
        raise TimeoutError("the child's own")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery(timeout=FAR) as nursery:
                nursery.start_soon(child)
        assert texts(raised.value) == ["the child's own"]


async def test_the_timeout_of_an_inner_nursery_can_be_caught() -> None:
    async with in_time(), lt.open_nursery("outer") as outer:
        sibling = outer.start_soon(forever)
        with pytest.raises(TimeoutError):
            async with lt.open_nursery("inner", timeout=0) as inner:
                inner.start_soon(forever)
        assert outer.reason is None
        assert not sibling.done
        outer.cancel()


async def test_the_timeout_of_the_outer_reaches_the_inner() -> None:
    async with in_time():
        with pytest.raises(TimeoutError, match="'outer'"):
            async with lt.open_nursery("outer", timeout=0.01):
                async with lt.open_nursery("inner", timeout=FAR) as inner:
                    handle = inner.start_soon(forever)
        assert handle.done


async def test_a_cancelled_nursery_ends_silently() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(forever)
            nursery.cancel("operator asked")
            await forever()
        assert nursery.reason == "operator asked"
        assert await handle.outcome() == lt.Cancelled("operator asked")
        assert nursery.stopping.is_set()


async def test_cancelling_it_after_its_end_changes_nothing() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            pass
        nursery.cancel("too late")
        assert nursery.reason is None


@pytest.mark.parametrize(("grace", "kind"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)])
async def test_a_bad_grace_is_refused(grace: Any, kind: type[Exception]) -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(kind):
            nursery.cancel(grace=grace)
        assert nursery.reason is None


async def test_children_that_watch_stopping_finish_within_the_grace() -> None:
    async def child() -> str:
        await nursery.stopping.wait()
        await settled()
        return "parked"

    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(child)
            await settled()
            assert not nursery.stopping.is_set()
            nursery.cancel("enough", grace=FAR)
        assert await handle == "parked"
        assert nursery.reason == "enough"


async def test_children_that_do_not_are_cancelled_when_it_is_over() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(forever)
            await settled()
            nursery.cancel("enough", grace=0.01)
            await settled()
            assert nursery.stopping.is_set()
            await forever()
        assert await handle.outcome() == lt.Cancelled("enough")


async def test_a_second_cancel_with_a_shorter_grace_counts() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(forever)
            nursery.cancel("first", grace=FAR)
            await settled()
            assert not handle.done
            nursery.cancel("second", grace=0.01)
        assert await handle.outcome() == lt.Cancelled("first")


async def test_a_second_cancel_with_a_longer_grace_does_not() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            nursery.start_soon(forever)
            nursery.cancel("first", grace=0.01)
            nursery.cancel("second", grace=FAR)
        assert nursery.reason == "first"


async def test_a_failure_during_the_grace_ends_it() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery() as nursery:
                sibling = nursery.start_soon(forever)
                nursery.cancel(grace=FAR)
                nursery.start_soon(fail)
        assert sibling.done


async def test_a_timeout_ends_a_grace_that_is_longer() -> None:
    async with in_time(2.0):
        with contextlib.suppress(TimeoutError):
            async with lt.open_nursery(timeout=0.02) as nursery:
                handle = nursery.start_soon(forever)
                nursery.cancel("slowly", grace=FAR)
        assert await handle.outcome() == lt.Cancelled("slowly")


async def test_a_thread_cancels_with_a_grace() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(forever)
            await in_thread(lambda: nursery.cancel("the button", grace=0.01))
            await forever()
        assert await handle.outcome() == lt.Cancelled("the button")


async def test_stopping_is_seen_by_services_and_threads() -> None:
    async def service() -> str:
        await nursery.stopping.wait()
        return "saw it"

    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.service(service)
            await settled()
            nursery.cancel(grace=FAR)
            assert await handle == "saw it"
            assert await in_thread(nursery.stopping.is_set)


async def test_one_that_does_not_stop_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labtether import _core

    monkeypatch.setattr(_core, "CANCEL_TIMEOUT", 0.02)
    caplog.set_level(logging.INFO, "labtether")

    async def says_so() -> None:
        await until(lambda: any("has not ended" in line for line in caplog.messages))

    async with in_time():
        async with lt.open_nursery("run 7") as nursery:
            nursery.start_soon(Stubborn(says_so), name="the deaf one")
            await settled()
            nursery.cancel("enough")
        (line,) = [line for line in caplog.messages if "has not ended" in line]
        assert "run 7" in line
        assert "the deaf one" in line


# -- Rust children beside Python's -------------------------------------------------------------------------------------


async def test_the_block_waits_for_rust_children() -> None:
    async with in_time():
        async with lt.open_nursery("run 7") as nursery:
            nursery._supervisor.drill("pump", "done", 0.02)
            await until(lambda: nursery.tree().find("pump") is not None)
        await nothing_left("run 7", "pump")


async def test_a_rust_failure_ends_the_python_children() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(forever)
                nursery._supervisor.drill("pump", "fails", 0.0)
                await forever()
        (error,) = raised.value.exceptions
        assert "this was a drill" in str(error)
        assert "Rust child 'pump'" in "".join(error.__notes__)
        assert await handle.outcome() == lt.Cancelled("pump failed")


async def test_a_rust_failure_after_the_block_ends_the_python_children() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(forever)
                nursery._supervisor.drill("pump", "fails", 0.01)
        assert await handle.outcome() == lt.Cancelled("pump failed")


@pytest.mark.expects_panic("a child of a nursery panics")
async def test_a_panic_is_a_failure_with_its_childs_name() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(forever)
                nursery._supervisor.drill("pump", "panics", 0.0)
        (error,) = raised.value.exceptions
        assert isinstance(error, lt.InternalError)
        assert "this was a drill" in str(error)
        assert "pump" in str(error)
        assert handle.done


@pytest.mark.expects_panic("a child of a nursery panics")
async def test_failures_of_both_sides_come_out_in_one_group() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(Stubborn(lambda: fail("python")))
                nursery._supervisor.drill("broken pump", "fails", 0.03)
                nursery._supervisor.drill("panicking pump", "panics", 0.03)
                await forever()
        said = texts(raised.value)
        assert len(said) in (2, 3), said  # a pump that was told to stop first has nothing to say
        assert "python" in said
        assert len(raised.value.exceptions) == len(leaves(raised.value))


async def test_a_python_failure_ends_rust_children() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("run 7") as nursery:
                nursery._supervisor.drill("pump", "done", FAR)
                nursery.start_soon(fail)
        assert texts(raised.value) == ["oops"]
        await nothing_left("run 7", "pump")


@pytest.mark.parametrize("how", ["cancel", "timeout", "scope", "block"])
async def test_rust_children_end_with_the_nursery(how: str) -> None:
    async with in_time():
        try:
            with anyio.CancelScope() as scope:
                async with lt.open_nursery("run 7", timeout=0.01 if how == "timeout" else None) as nursery:
                    nursery._supervisor.drill("pump", "done", FAR)
                    nursery.start_soon(forever)
                    await settled()
                    if how == "cancel":
                        nursery.cancel()
                    elif how == "scope":
                        scope.cancel()
                    elif how == "block":
                        raise Oops
        except (TimeoutError, ExceptionGroup):
            assert how in ("timeout", "block")
        await nothing_left("run 7", "pump")


async def test_a_scope_around_it_is_cancelled_while_only_rust_works() -> None:
    async with in_time():
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def cancel() -> None:
                    await settled()
                    scope.cancel()

                tasks.start_soon(cancel)
                async with lt.open_nursery("run 7") as nursery:
                    nursery._supervisor.drill("pump", "done", FAR)
        assert scope.cancelled_caught
        await nothing_left("run 7", "pump")


async def test_a_deaf_rust_child_is_dropped_when_its_time_is_over() -> None:
    """Two seconds: the grace that Rust children have."""
    hardware = Hardware()
    async with in_time():
        async with lt.open_nursery("run 7") as nursery:
            await nursery.enter(hardware)
            nursery._supervisor.drill("deaf pump", "deaf", FAR)
            await until(lambda: nursery.tree().find("deaf pump") is not None)
            nursery.cancel()
        await nothing_left("run 7", "deaf pump")


async def test_nothing_of_rust_starts_in_a_nursery_that_has_ended() -> None:
    async with in_time():
        async with lt.open_nursery("run 7") as nursery:
            pass
        with pytest.raises(lt.ScopeClosed, match="run 7"):
            nursery._supervisor.drill("pump", "done", 0.0)
