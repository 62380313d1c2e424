"""`situation`: what a task says it is doing; in handles, trees, notes and errors."""

import pickle
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, forever, in_thread, in_time, notes, settled


async def test_it_nests_and_goes_away() -> None:
    seen: list[str | None] = []

    async def work() -> None:
        with lt.situation("priming"):
            seen.append(handles[0].situation)
            with lt.situation("pump 2"):
                seen.append(handles[0].situation)
            seen.append(handles[0].situation)
        seen.append(handles[0].situation)

    handles: list[lt.Handle[Any]] = []
    async with in_time(), lt.open_nursery() as nursery:
        handles.append(nursery.start_soon(work))
    assert seen == ["priming", "priming > pump 2", "priming", None]


async def test_each_child_has_its_own() -> None:
    async def work(text: str) -> None:
        with lt.situation(text):
            await forever()

    async with in_time(), lt.open_nursery() as nursery:
        first, second = nursery.start_soon(work, "first"), nursery.start_soon(work, "second")
        with lt.situation("the block"):
            third = nursery.start_soon(forever)
            await settled()
            assert (first.situation, second.situation, third.situation) == ("first", "second", None)
        nursery.cancel()


async def test_a_task_that_is_no_child_is_in_the_tree_while_it_says_what_it_does() -> None:
    async with in_time():
        with lt.situation("calibrating the oven"):
            assert "calibrating the oven" in str(lt.lifecycle.tree())
        assert "calibrating the oven" not in str(lt.lifecycle.tree())


async def test_tasks_of_somebody_elses_group_do_not_speak_for_their_parent() -> None:
    said: list[str | None] = []

    async def other() -> None:
        with lt.situation("something else"):
            await settled()

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            said.append(handles[0].situation)

    handles: list[lt.Handle[Any]] = []
    async with in_time(), lt.open_nursery() as nursery:
        handles.append(nursery.start_soon(work))
    assert said[0] in (None, "something else"), "it is shown somewhere, and not garbled"


async def test_an_error_that_leaves_it_says_where_it_was() -> None:
    async with in_time():
        with pytest.raises(Oops) as raised:
            with lt.situation("priming"):
                with lt.situation("pump 2"):
                    raise Oops
        first, second = raised.value.__notes__
        assert "while pump 2" in first
        assert "while priming" in second


async def test_a_cancellation_gets_no_note() -> None:
    async with in_time():
        with anyio.CancelScope() as scope:
            try:
                with lt.situation("waiting"):
                    scope.cancel()
                    await forever()
            except BaseException as error:
                assert "waiting" not in notes(error)  # noqa: PT017
                raise


async def test_a_timeout_of_a_link_knows_it() -> None:
    async with in_time(), lt.link("sim://balance", timeout=0.02) as balance:
        with pytest.raises(lt.LinkTimeout) as raised:
            with lt.situation("taring"):
                await balance.query("QUIET")
        assert raised.value.situation == "taring"
        assert "while taring" in notes(raised.value)


async def test_it_reaches_a_worker_thread() -> None:
    async with in_time():
        with lt.situation("reading the disk"):
            assert "reading the disk" in await lt.run_sync(lambda: str(lt.lifecycle.tree()))


async def test_in_a_plain_thread_it_works_too() -> None:
    def work() -> str:
        with lt.situation("soldering"):
            return str(lt.lifecycle.tree())

    async with in_time():
        assert "soldering" in await in_thread(work)


def test_without_a_loop_it_works_too() -> None:
    with lt.situation("soldering"):
        assert "soldering" in str(lt.lifecycle.tree())
    assert "soldering" not in str(lt.lifecycle.tree())


@pytest.mark.parametrize(("wrong", "kind"), [("", ValueError), (" ", ValueError), (5, TypeError), (None, TypeError)])
def test_bad_words_are_refused(wrong: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        lt.situation(wrong)


def test_it_is_entered_once() -> None:
    words = lt.situation("once")
    with words:
        with pytest.raises(RuntimeError, match="entered once"):
            words.__enter__()
    assert repr(words) == "<situation 'once'>"
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(words)


async def test_a_generator_that_is_left_halfway_takes_its_words_along() -> None:
    async def readings() -> Any:
        with lt.situation("reading"):
            yield 1
            yield 2

    async with in_time():
        generator = readings()
        assert await anext(generator) == 1
        await generator.aclose()
        assert '"reading"' not in str(lt.lifecycle.tree())
