"""`from_callback`: an API that calls back becomes awaitable. Once, from any thread, and undone when it is cancelled."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, forever, in_time, settled, until


async def test_a_call_inside_register() -> None:
    async with in_time():
        assert await lt.from_callback(lambda callback: callback(5)) == 5


async def test_a_call_from_a_thread() -> None:
    threads: list[threading.Thread] = []

    def register(callback: Callable[..., None]) -> None:
        threads.append(threading.Thread(target=callback, args=(5,)))
        threads[0].start()

    async with in_time():
        assert await lt.from_callback(register) == 5
    threads[0].join()


async def test_a_call_from_this_loop() -> None:
    callbacks: list[Any] = []
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(lt.from_callback, callbacks.append)
        await settled()
        callbacks[0]("later")
        assert await handle == "later"


@pytest.mark.parametrize(
    ("values", "expected"), [((), None), ((None,), None), ((1,), 1), ((1, 2), (1, 2)), (((1, 2),), (1, 2))]
)
async def test_what_it_is_called_with(values: tuple[Any, ...], expected: Any) -> None:
    async with in_time():
        assert await lt.from_callback(lambda callback: callback(*values)) == expected


async def test_only_the_first_call_counts() -> None:
    kept: list[Any] = []

    def register(callback: Any) -> None:
        kept.append(callback)
        callback(1)
        callback(2)
        callback.fail(Oops())

    async with in_time():
        assert await lt.from_callback(register) == 1
        kept[0](3)
        assert kept[0].done


async def test_many_threads_call_at_once_and_one_counts() -> None:
    go = threading.Event()
    threads: list[threading.Thread] = []

    def register(callback: Any) -> None:
        def call(number: int) -> None:
            go.wait(10)
            callback(number)

        threads.extend(threading.Thread(target=call, args=(number,)) for number in range(8))
        for thread in threads:
            thread.start()
        go.set()

    async with in_time():
        assert await lt.from_callback(register) in range(8)
    for thread in threads:
        thread.join()


async def test_an_error_is_raised() -> None:
    error = Oops("from the driver")
    async with in_time():
        with pytest.raises(Oops) as raised:
            await lt.from_callback(lambda callback: callback.fail(error))
        assert raised.value is error
        with pytest.raises(TypeError, match="exception"):
            await lt.from_callback(lambda callback: callback.fail("text"))  # type: ignore[arg-type]


async def test_what_register_raises_is_raised_here() -> None:
    def register(callback: Any) -> None:
        raise Oops("refused")

    async with in_time():
        with pytest.raises(Oops, match="refused"):
            await lt.from_callback(register)


class Registration:
    """What an API returns: something to cancel it with."""

    def __init__(self, undone: list[str], how: str) -> None:
        setattr(self, how, lambda: undone.append(how))


@pytest.mark.parametrize("how", ["function", "cancel", "close", "dispose"])
async def test_cancelled_it_undoes_the_registration_once(how: str) -> None:
    undone: list[str] = []
    callbacks: list[Any] = []

    def register(callback: Any) -> Any:
        callbacks.append(callback)
        return (lambda: undone.append(how)) if how == "function" else Registration(undone, how)

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(lt.from_callback, register)
        await settled()
        handle.cancel("enough")
        assert await handle.outcome() == lt.Cancelled("enough")
        assert undone == [how]
        assert callbacks[0].done
        callbacks[0]("too late")


async def test_an_undo_that_is_async_is_awaited_to_its_end() -> None:
    undone: list[str] = []

    async def undo() -> None:
        await settled()
        undone.append("undone")

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(lt.from_callback, lambda callback: undo)
        await settled()
        handle.cancel()
        await handle.outcome()
        assert undone == ["undone"]


async def test_where_it_was_called_nothing_is_undone() -> None:
    undone: list[str] = []

    def register(callback: Any) -> Any:
        callback(5)
        return lambda: undone.append("undone")

    async with in_time():
        assert await lt.from_callback(register) == 5
        assert undone == []


async def test_cancelled_without_anything_to_undo() -> None:
    async with in_time():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await lt.from_callback(lambda callback: None)
        assert scope.cancelled_caught


@pytest.mark.parametrize("wrong", [5, None, "text"])
async def test_what_is_no_function_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="function that registers"):
        await lt.from_callback(wrong)


async def test_a_registration_that_cannot_cancel_is_refused() -> None:
    async with in_time():
        with pytest.raises(TypeError, match="cannot cancel"):
            await lt.from_callback(lambda callback: 5)


async def test_an_async_function_is_no_register_and_does_not_hang() -> None:
    async def register(callback: Any) -> None:
        callback(5)

    async with in_time(2.0):
        with pytest.raises(TypeError):
            await lt.from_callback(register)


async def test_its_repr_says_whether_it_was_called() -> None:
    said: list[str] = []

    def register(callback: Any) -> None:
        said.append(repr(callback))
        callback()
        said.append(repr(callback))

    async with in_time():
        await lt.from_callback(register)
    assert said == ["<Callback: not called yet>", "<Callback: done>"]


def call_with(value: int, callback: Callable[[int], None]) -> None:
    callback(value)


async def test_a_thousand_of_them_leave_nothing() -> None:
    async with in_time(30):
        for number in range(1000):
            assert await lt.from_callback(functools.partial(call_with, number)) == number


async def test_a_callback_while_the_loop_is_blocked() -> None:
    callbacks: list[Any] = []
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(lt.from_callback, callbacks.append)
        await settled()
        thread = threading.Thread(target=callbacks[0], args=(5,))
        thread.start()
        thread.join()
        assert await handle == 5
        nursery.start_soon(forever)
        nursery.cancel()
    await until(lambda: not thread.is_alive())
