"""Lock on its own: taken again by its holder, deadlocks that are found and those that are none, what it says."""

import copy
import json
import pickle
import re
from functools import partial
from typing import Any

import anyio
import pytest

import labtether as lt
from support.together import LOOPS, Asker, Place, Worker, ask, run_on, until, until_sync


def waits(lock: lt.Lock | lt.Slots | lt.Semaphore, count: int = 1) -> bool:
    return len(lock.tree()["waiters"]) == count


async def test_its_holder_may_take_it_again() -> None:
    lock = lt.Lock("deck")
    async with anyio.create_task_group() as group:
        async with lock:
            async with lock:
                async with lock:
                    assert "3 times" in repr(lock)
                    waiter = await ask(group, Place(lock))
            assert lock.mine
            assert waiter.state == "asks"
        waiter.leave()
    assert not lock.locked


async def test_a_child_task_is_somebody_else() -> None:
    lock = lt.Lock("deck")

    async def child() -> None:
        assert not lock.mine
        async with lock:
            order.append("child")

    order: list[str] = []
    async with anyio.create_task_group() as group:
        async with lock:
            group.start_soon(child)
            await until(lambda: waits(lock))
            order.append("parent")
    assert order == ["parent", "child"]


def test_a_thread_may_take_it_again() -> None:
    lock = lt.Lock("deck")
    with lock.sync, lock.sync:
        assert lock.mine
    assert not lock.locked


def test_the_runs_of_a_thread_are_not_the_thread() -> None:
    lock = lt.Lock("deck")

    async def tries() -> bool:
        return lock.mine

    with lock.sync:
        assert lock.mine
        for kind in LOOPS:
            assert run_on(kind, tries) is False


async def test_two_tasks_that_wait_for_each_other() -> None:
    first, second = lt.Lock("first"), lt.Lock("second")
    caught: list[lt.Deadlock] = []

    async def other() -> None:
        async with second, first:
            pass

    async with anyio.create_task_group() as group:
        async with first:
            group.start_soon(other, name="the other")
            await until(lambda: waits(first))
            with pytest.raises(lt.Deadlock) as error:
                async with second:
                    pass
            caught.append(error.value)
            assert first.mine
        async with second, first:
            pass
    (deadlock,) = caught
    assert isinstance(deadlock, RuntimeError)
    assert len(deadlock.cycle) == 2
    text = "\n".join([str(deadlock), *deadlock.cycle])
    for word in ("lock first", "lock second", "the other"):
        assert word in text
    assert not first.locked
    assert not second.locked


async def test_three_tasks_in_a_circle() -> None:
    locks = [lt.Lock(name) for name in ("one", "two", "three")]
    failed: list[lt.Deadlock] = []

    async def go(number: int) -> None:
        try:
            async with locks[number]:
                await until(lambda: number in asking)
                async with locks[(number + 1) % 3]:
                    pass
        except lt.Deadlock as deadlock:
            failed.append(deadlock)

    def failed_or_waits(lock: lt.Lock) -> bool:
        return bool(failed) or waits(lock)

    asking = list[int]()
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(go, number, name=f"philosopher {number}")
        await until(lambda: all(lock.locked for lock in locks))
        for number in range(3):
            asking.append(number)
            await until(partial(failed_or_waits, locks[(number + 1) % 3]))
    assert len(failed) == 1
    assert len(failed[0].cycle) == 3
    assert all(f"philosopher {number}" in str(failed[0].cycle) for number in range(3))
    assert not any(lock.locked for lock in locks)


@pytest.mark.parametrize("other_kind", [*LOOPS, "thread"])
async def test_across_loops_and_threads(other_kind: str) -> None:
    first, second = lt.Lock("first"), lt.Lock("second")

    async def other() -> None:
        async with second, first:
            pass

    def other_thread() -> None:
        with second.sync, first.sync:
            pass

    async with first:
        worker = Worker(other_thread) if other_kind == "thread" else Worker(run_on, other_kind, other)
        await until(lambda: waits(first))
        with pytest.raises(lt.Deadlock):
            async with second:
                pass
    async with second, first:
        pass
    worker.finish()


def test_a_thread_learns_of_a_deadlock_with_a_loop() -> None:
    first, second = lt.Lock("first"), lt.Lock("second")

    async def other() -> None:
        async with second, first:
            pass

    with first.sync:
        worker = Worker(run_on, "asyncio", other)
        until_sync(lambda: waits(first))
        with pytest.raises(lt.Deadlock) as error:
            with second.sync:
                pass
        assert "MainThread" in str(error.value.cycle)
    worker.finish()
    assert not first.locked
    assert not second.locked


async def test_deadlocks_go_through_slots_and_locks() -> None:
    lock, slots = lt.Lock("deck"), lt.Slots(["A1"], "rack")

    async def other() -> None:
        async with slots.take(), lock:
            pass

    async with anyio.create_task_group() as group:
        async with lock:
            group.start_soon(other)
            await until(lambda: waits(lock))
            with pytest.raises(lt.Deadlock) as error:
                async with slots.take("A1"):
                    pass
            assert "slots rack" in str(error.value.cycle)


async def test_a_holder_that_was_granted_its_next_is_not_blocked() -> None:
    first, second = lt.Lock("first"), lt.Lock("second")

    async def other() -> None:
        async with second:
            async with first:
                pass

    async with anyio.create_task_group() as group:
        async with first:
            group.start_soon(other)
            await until(lambda: waits(first))
        # Granted, not looked yet: `other` goes on as soon as it is let.
        async with second, first:
            pass
    assert not second.locked


async def test_a_semaphore_is_no_ones_in_particular() -> None:
    lock, semaphore = lt.Lock("deck"), lt.Semaphore(1, "pump")
    scope = anyio.CancelScope()

    async def other() -> None:
        with scope:
            async with lock, semaphore:
                pass

    async with anyio.create_task_group() as group:
        async with semaphore:
            group.start_soon(other)
            await until(lambda: waits(semaphore))
            mine = anyio.CancelScope()

            async def release() -> None:
                await until(lambda: waits(lock))
                scope.cancel()

            group.start_soon(release)
            with mine:
                async with lock:
                    pass
    assert not lock.locked
    assert semaphore.available == 1


async def leave_when_waited_for(asker: Asker) -> None:
    await until(lambda: asker.place.waiters)
    asker.leave()


async def test_a_cancelled_wait_is_in_no_cycle() -> None:
    first, second = lt.Lock("first"), lt.Lock("second")
    async with anyio.create_task_group() as group:
        async with first:
            other = await ask(group, Place(second))
            blocked = await ask(group, Place(first))
            blocked.cancel()
            await until(lambda: blocked.is_over)
            group.start_soon(leave_when_waited_for, other)
            async with second:
                pass
    assert not first.locked


async def test_after_a_deadlock_everything_goes_on() -> None:
    first, second = lt.Lock("first"), lt.Lock("second")
    for _ in range(20):

        async def other() -> None:
            async with second, first:
                pass

        async with anyio.create_task_group() as group:
            async with first:
                group.start_soon(other)
                await until(lambda: waits(first))
                with pytest.raises(lt.Deadlock):
                    async with second:
                        pass
    assert not first.locked
    assert not second.locked
    assert not first.tree()["waiters"]


async def test_it_says_who_holds_and_who_waits_and_since_when() -> None:
    lock = lt.Lock("deck")
    assert repr(lock) == "<Lock deck: free>"

    async def holder() -> None:
        async with lock:
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(holder, name="the first")
        await until(lambda: lock.locked)
        group.start_soon(holder, name="the second")
        await until(lambda: waits(lock))
        pattern = (
            r"<Lock deck: held by task '.*the first.*' for \d+\.\d s; 1 wait: task '.*the second.*' for \d+\.\d s>"
        )
        assert re.fullmatch(pattern, repr(lock))
        assert repr(lock.sync).startswith("<Lock.sync deck: held by")
        tree = lock.tree()
        assert json.loads(json.dumps(tree)) == tree
        assert [row["who"] for row in tree["holders"]] == ["task 'the first'"]
        ages = [row["age"] for row in tree["holders"] + tree["waiters"]]
        await until(lambda: all(row["age"] > age for row, age in zip(rows(lock), ages, strict=True)))
        group.cancel_scope.cancel()
    assert repr(lock) == "<Lock deck: free>"


def rows(lock: lt.Lock) -> list[dict[str, Any]]:
    tree = lock.tree()
    return [*tree["holders"], *tree["waiters"]]


def test_a_thread_is_called_by_its_name() -> None:
    lock = lt.Lock("deck")
    said: list[str] = []

    def take() -> None:
        with lock.sync:
            said.append(repr(lock))

    Worker(take, name="heater").finish()
    assert said[0].startswith("<Lock deck: held by thread 'heater' for 0.")


def test_who_leaves_without_holding_is_told() -> None:
    lock = lt.Lock("deck")
    with pytest.raises(RuntimeError, match="lock deck is not held by who leaves it"):
        lock.sync.__exit__(None, None, None)
    with lock.sync:
        with pytest.raises(RuntimeError, match="not held"):
            Worker(lock.sync.__exit__, None, None, None).finish()
        assert lock.mine


def test_names() -> None:
    assert lt.Lock("deck").name == "deck"
    first, second = lt.Lock(), lt.Lock()
    assert first.name.startswith("lock-")
    assert first.name != second.name
    for wrong in ("", "  ", "a\0b"):
        with pytest.raises(ValueError, match="name"):
            lt.Lock(wrong)
    for what in (1, b"deck", ["deck"]):
        with pytest.raises(TypeError, match="name is a str"):
            lt.Lock(what)  # type: ignore[arg-type]


def test_it_is_not_pickled_or_copied() -> None:
    lock = lt.Lock("deck")
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="Lock deck is shared inside one process"):
            copying(lock)
