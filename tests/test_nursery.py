"""Nurseries at work: the block, `start_soon`, names, arguments, what is refused; nothing is left afterwards."""

import contextvars
import functools
import pickle
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, fail, forever, in_time, in_tree, nothing_left, settled, thread, value_of


async def test_the_block_ends_when_its_children_have() -> None:
    done: list[str] = []

    async def work(what: str) -> None:
        await settled()
        done.append(what)

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(work, "a")
        nursery.start_soon(work, "b")
        assert done == []
    assert sorted(done) == ["a", "b"]


async def test_a_nursery_without_children_ends() -> None:
    async with in_time(), lt.open_nursery("empty"):
        assert in_tree("empty")
    await nothing_left("empty")


async def test_hundreds_of_nurseries_one_after_the_other_leave_nothing() -> None:
    for _ in range(300):
        async with lt.open_nursery("one of many") as nursery:
            nursery.start_soon(value_of, 1)
    await nothing_left("one of many", "value_of")


async def test_many_children_are_all_waited_for() -> None:
    async with in_time(30), lt.open_nursery() as nursery:
        handles = [nursery.start_soon(value_of, number) for number in range(1000)]
    assert [handle.done for handle in handles] == [True] * 1000
    assert [await handle for handle in handles] == list(range(1000))


async def test_a_child_starts_children() -> None:
    done: list[int] = []

    async def count_down(n: int) -> None:
        if n:
            nursery.start_soon(count_down, n - 1)
        done.append(n)

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(count_down, 5)
    assert sorted(done) == [0, 1, 2, 3, 4, 5]


async def test_a_child_starts_another_after_the_block_is_done() -> None:
    block_is_done = anyio.Event()
    done: list[str] = []

    async def later() -> None:
        done.append("grandchild")

    async def child() -> None:
        await block_is_done.wait()
        await settled()
        nursery.start_soon(later)

    async with in_time():
        async with lt.open_nursery() as nursery:
            nursery.start_soon(child)
            block_is_done.set()
    assert done == ["grandchild"]


async def test_start_soon_does_not_run_the_child_at_once() -> None:
    ran: list[str] = []

    async def child() -> None:
        ran.append("child")

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(child)
        assert ran == []
    assert ran == ["child"]


async def test_what_the_block_assigns_and_returns_is_kept() -> None:
    async def use() -> str | None:
        async with lt.open_nursery() as nursery:
            nursery.start_soon(value_of, 1)
            return "returned"
        return None

    async with in_time():
        assert await use() == "returned"


async def test_a_nursery_is_entered_once() -> None:
    nursery = lt.open_nursery("once")
    async with in_time():
        async with nursery:
            with pytest.raises(RuntimeError, match="entered once"):
                await nursery.__aenter__()
        with pytest.raises(RuntimeError, match="entered once"):
            async with nursery:
                pytest.fail("was entered")


async def test_a_plain_with_says_what_to_write() -> None:
    nursery: Any = lt.open_nursery()
    with pytest.raises(TypeError, match="async with"):
        with nursery:
            pytest.fail("was entered")


@pytest.mark.parametrize("how", ["start_soon", "start", "service", "enter"])
async def test_after_its_end_nothing_starts_in_it(how: str) -> None:
    async with lt.open_nursery("run 7") as nursery:
        pass
    with pytest.raises(lt.ScopeClosed, match="run 7"):
        if how == "start":
            await nursery.start(forever)
        elif how == "enter":
            await nursery.enter(lt.link("sim://balance"))
        else:
            getattr(nursery, how)(forever)


async def test_after_its_failure_nothing_starts_in_it() -> None:
    with pytest.raises(ExceptionGroup):
        async with lt.open_nursery("run 8") as nursery:
            raise Oops
    with pytest.raises(lt.ScopeClosed, match="run 8"):
        nursery.start_soon(forever)


async def test_before_it_is_entered_nothing_starts_in_it() -> None:
    nursery = lt.open_nursery("too early")
    with pytest.raises(lt.ScopeClosed, match="has not been entered"):
        nursery.start_soon(forever)


async def test_before_it_is_entered_its_methods_say_so() -> None:
    nursery = lt.open_nursery("too early")
    assert nursery.reason is None
    assert nursery.children == ()
    assert not nursery.stopping.is_set()
    assert "not entered" in repr(nursery)
    for method in (nursery.cancel, nursery.tree):
        with pytest.raises(RuntimeError, match="too early"):
            method()


def test_where_no_loop_runs_it_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"'run 9' needs a running event loop.*asyncio\.run"):
        lt.open_nursery("run 9")


async def test_a_plain_thread_beside_a_loop_has_no_loop() -> None:
    with thread(lambda: lt.open_nursery()) as raised:
        pass
    assert "running event loop" in str(raised[0])


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"timeout": -1}, ValueError, "timeout is not negative"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "5"}, TypeError, "number of seconds"),
        ({"timeout": True}, TypeError, "number of seconds"),
        ({"name": ""}, ValueError, "name is empty"),
        ({"name": "  "}, ValueError, "name is empty"),
        ({"name": 7}, TypeError, "name is a str"),
        ({"name": None}, TypeError, "name is a str"),
    ],
)
async def test_bad_options_are_refused_at_the_call(options: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        lt.open_nursery(**options)


def plain() -> int:
    return 5


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (plain, "plain is not an async function.*run_sync"),
        (5, "async function, not int"),
        (None, "async function, not NoneType"),
        (lambda: None, "not an async function"),
    ],
)
@pytest.mark.parametrize("how", ["start_soon", "service"])
async def test_what_is_no_async_function_is_refused(what: Any, says: str, how: str) -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(TypeError, match=says):
            getattr(nursery, how)(what)
        assert nursery.children == ()


@pytest.mark.parametrize("how", ["start_soon", "service", "start"])
async def test_a_coroutine_instead_of_a_function_is_refused_and_closed(how: str) -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(TypeError, match=r"no coroutine: start_soon\(fail"):  # and no "never awaited" warning
            refused = getattr(nursery, how)(fail())
            if how == "start":
                await refused
        assert nursery.children == ()


async def test_wrong_arguments_are_refused_at_the_call() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(TypeError, match="argument"):
            nursery.start_soon(value_of)
        with pytest.raises(TypeError, match="argument"):
            nursery.service(value_of)
        with pytest.raises(TypeError, match="task_status"):
            await nursery.start(forever)
        assert nursery.children == ()


async def test_anything_that_makes_an_awaitable_is_a_function() -> None:
    class Machine:
        async def run(self) -> str:
            return "method"

        async def __call__(self) -> str:
            return "object"

    class Awaitable:
        def __await__(self) -> Any:
            return value_of("awaitable").__await__()

    functions: list[Callable[[], Any]] = [
        Machine().run,
        Machine(),
        functools.partial(value_of, "partial"),
        lambda: value_of("lambda"),
        Awaitable,
    ]
    async with in_time(), lt.open_nursery() as nursery:
        handles = [nursery.start_soon(function) for function in functions]
    assert [await handle for handle in handles] == ["method", "object", "partial", "lambda", "awaitable"]


async def test_a_child_is_called_after_its_function_or_as_one_says() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        assert nursery.start_soon(value_of, 1).name == "value_of"
        assert nursery.start_soon(value_of, 1, name="the heater").name == "the heater"
        assert nursery.start_soon(functools.partial(value_of, 1)).name == "partial"
        for name, kind in (("", ValueError), (5, TypeError)):
            with pytest.raises(kind):
                nursery.start_soon(value_of, 1, name=name)  # type: ignore[arg-type]


async def test_a_child_sees_the_context_of_who_started_it() -> None:
    color = contextvars.ContextVar("color", default="none")
    seen: dict[str, str] = {}

    async def child(who: str) -> None:
        seen[who] = color.get()
        color.set("child's own")

    async def starter() -> None:
        color.set("blue")
        nursery.start_soon(child, "from a child")

    async with in_time(), lt.open_nursery() as nursery:
        color.set("red")
        nursery.start_soon(child, "from the block")
        nursery.start_soon(starter)
        await settled()
        assert color.get() == "red"
    assert seen == {"from the block": "red", "from a child": "blue"}


async def test_children_are_listed_the_oldest_first_and_leave_the_list() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        first, second = nursery.start_soon(forever, name="first"), nursery.start_soon(forever, name="second")
        service = nursery.service(forever, name="third")
        assert list(nursery.children) == [first, second, service]
        first.cancel()
        await first.outcome()
        assert list(nursery.children) == [second, service]
        nursery.cancel()
    assert nursery.children == ()


async def test_its_repr_says_how_it_is() -> None:
    async with in_time():
        async with lt.open_nursery("oven") as nursery:
            assert repr(nursery) == "<Nursery oven: 0 children>"
            nursery.start_soon(forever)
            assert repr(nursery) == "<Nursery oven: 1 child>"
            nursery.cancel("too hot")
            assert "cancelled: too hot" in repr(nursery)
        assert repr(nursery) == "<Nursery oven: ended, cancelled: too hot>"


async def test_it_stays_in_its_process() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(nursery)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(nursery.start_soon(value_of, 1))


async def test_a_finished_child_is_forgotten_by_its_nursery() -> None:
    """A loop that starts children for days must not grow."""
    import gc
    import weakref

    class Big:
        pass

    async with in_time(), lt.open_nursery() as nursery:
        big = Big()
        gone = weakref.ref(big)
        handle = nursery.start_soon(value_of, big)
        await handle
        del big, handle
        await settled()
        gc.collect()
        assert gone() is None
