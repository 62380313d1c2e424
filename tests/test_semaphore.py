"""Semaphore on its own: how many at once, and what it says of itself."""

import pickle

import anyio
import pytest

import labtether as lt
from support.together import Place, Worker, ask, until, until_sync


@pytest.mark.parametrize("n", [1, 2, 5])
async def test_never_more_than_n_at_once_and_always_as_many_as_may(n: int) -> None:
    semaphore, inside, most = lt.Semaphore(n), 0, 0

    async def use() -> None:
        nonlocal inside, most
        async with semaphore:
            inside += 1
            most = max(most, inside)
            assert inside <= n
            await lt.pause()
            inside -= 1

    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(use)
    assert most == n
    assert semaphore.available == n


async def test_one_task_may_take_several_and_each_counts() -> None:
    semaphore = lt.Semaphore(2)
    async with semaphore:
        assert semaphore.available == 1
        async with semaphore:
            assert semaphore.available == 0
            with anyio.move_on_after(0) as scope:
                async with semaphore:
                    pytest.fail("there was no third")
            assert scope.cancelled_caught
            assert semaphore.available == 0
    assert semaphore.available == 2


async def test_what_is_let_go_of_goes_to_the_first_who_waits() -> None:
    place = Place(lt.Semaphore(2, "pumps"))
    async with anyio.create_task_group() as group:
        first, second = await ask(group, place), await ask(group, place)
        third, fourth = await ask(group, place), await ask(group, place)
        second.leave()
        await until(lambda: third.state == "holds")
        assert fourth.state == "asks"
        first.leave()
        await until(lambda: fourth.state == "holds")
        third.leave()
        fourth.leave()
    assert place.is_free


def test_threads_and_it() -> None:
    semaphore = lt.Semaphore(2, "pumps")

    def use() -> None:
        with semaphore.sync:
            until_sync(lambda: len(semaphore.tree()["waiters"]) == 1 or done)

    done = False
    workers = [Worker(use) for _ in range(3)]
    done = True
    for worker in workers:
        worker.finish()
    assert semaphore.available == 2


async def test_what_it_says() -> None:
    semaphore = lt.Semaphore(3, "pumps")
    assert repr(semaphore) == "<Semaphore pumps: 3 of 3 free>"
    async with semaphore:
        assert repr(semaphore).startswith("<Semaphore pumps: 2 of 3 free; held by task '")
        assert semaphore.tree()["size"] == 3
        assert semaphore.tree()["kind"] == "semaphore"
    assert lt.Semaphore(1).name.startswith("semaphore-")
    assert lt.Semaphore(2**32 - 1).available == 2**32 - 1


@pytest.mark.parametrize(
    ("n", "error"),
    [(0, ValueError), (-1, ValueError), (2**32, ValueError), (True, TypeError), (1.0, TypeError), ("1", TypeError)],
)
def test_wrong_counts(n: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="n is"):
        lt.Semaphore(n)  # type: ignore[arg-type]


def test_it_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(lt.Semaphore(1))
