"""Trees: who is alive, as text, as a dict for JSON, as HTML; folding, holders and waiters."""

import json
from typing import Any

import pytest

import labtether as lt
from support.nurseries import Hardware, forever, in_thread, in_time, settled, until


async def test_it_shows_tasks_services_links_and_rust() -> None:
    async with in_time(), lt.open_nursery("run 7") as nursery:
        nursery.start_soon(forever, name="stirrer")
        nursery.service(forever, name="heartbeat")
        await nursery.enter(lt.link("sim://balance", name="scale"))
        nursery._supervisor.drill("pump", "done", 3600.0)
        await until(lambda: nursery.tree().find("pump") is not None)
        tree = nursery.tree()
        kinds = {one.name: one.kind for one in tree.walk()}
        assert kinds["run 7"] == "nursery"
        assert kinds["stirrer"] == "task"
        assert kinds["heartbeat"] == "service"
        assert kinds["scale"] == "entered"
        assert kinds["pump"] == "rust"
        lines = str(tree).splitlines()
        assert lines[0].startswith("nursery run 7  ")
        assert any(line.startswith("  task stirrer  ") for line in lines)
        nursery.cancel()


async def test_nested_nurseries_hang_under_the_child_that_opened_them() -> None:
    async def child() -> None:
        async with lt.open_nursery("inner") as inner:
            inner.start_soon(forever, name="innermost")

    async with in_time(), lt.open_nursery("outer") as outer:
        outer.start_soon(child, name="opener")
        await settled()
        for tree in (outer.tree(), lt.lifecycle.tree()):
            opener = tree.find("opener")
            assert opener is not None
            assert opener.find("innermost") is not None
            assert sum(one.name == "inner" for one in tree.walk()) == 1
        outer.cancel()


async def test_it_is_a_dict_that_json_can_hold() -> None:
    async with in_time(), lt.open_nursery("run 7") as nursery:

        async def work() -> None:
            with lt.situation("stirring"):
                await forever()

        nursery.start_soon(work)
        await settled()
        as_dict = json.loads(json.dumps(nursery.tree().to_dict()))
        assert as_dict["kind"] == "nursery"
        assert as_dict["age"] >= 0
        assert as_dict["children"][0]["situation"] == "stirring"
        json.dumps(lt.lifecycle.tree().to_dict())
        nursery.cancel()


async def test_its_html_is_escaped() -> None:
    async with in_time(), lt.open_nursery("<script>alert('x')</script>") as nursery:

        async def work() -> None:
            with lt.situation("a < b & c"):
                await forever()

        nursery.start_soon(work, name="<b>")
        await settled()
        page = nursery.tree()._repr_html_()
        assert "<script>" not in page
        assert "<b>" not in page
        assert "a &lt; b &amp; c" in page
        nursery.cancel()


async def test_equal_neighbours_fold() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(forever, name="well")
        nursery.start_soon(forever, name="lid")
        await settled()
        tree = nursery.tree()
        assert [(one.name, one.times) for one in tree.children] == [("well", 20), ("lid", 1)]
        assert "well ×20" in str(tree)  # noqa: RUF001
        nursery.cancel()


async def test_what_differs_does_not_fold() -> None:
    async def work(number: int) -> None:
        with lt.situation(f"well {number}"):
            await forever()

    async with in_time(), lt.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(work, number)
        await settled()
        assert [one.times for one in nursery.tree().children] == [1] * 6
        nursery.cancel()


async def test_holders_and_waiters_are_shown() -> None:
    lock = lt.Lock("the deck")

    async def work() -> None:
        async with lock:
            await forever()

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(work, name="arm")
        await settled()
        nursery.start_soon(work, name="gripper")
        await settled()
        for tree in (nursery.tree(), lt.lifecycle.tree()):
            deck = tree.find("the deck")
            assert deck is not None
            assert deck.kind == "lock"
            people = {one.kind: one.name for one in deck.children}
            assert "arm" in people["holder"]
            assert "gripper" in people["waiter"]
        nursery.cancel()
    assert lt.lifecycle.tree().find("the deck") is None


async def test_slots_and_semaphores_are_shown_with_what_is_free() -> None:
    slots = lt.Slots(["A1", "A2"], "carousel")
    async with in_time():
        async with slots.take("A2"):
            carousel = lt.lifecycle.tree().find("carousel")
            assert carousel is not None
            assert carousel.kind == "slots"
            assert carousel.detail == "1 of 2 free"
            assert [one.detail for one in carousel.children] == ["A2"]
        assert lt.lifecycle.tree().find("carousel") is None


async def test_a_nursery_that_is_being_cancelled_says_why() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        nursery.cancel("the lid is open", grace=0.01)
        assert nursery.tree().detail == "being cancelled: the lid is open"
        await forever()


async def test_what_was_entered_says_how_it_is() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        await nursery.enter(lt.link("sim://balance", name="scale"))
        scale = nursery.tree().find("scale")
        assert scale is not None
        assert "open" in str(scale.detail)


async def test_it_may_be_asked_for_from_a_thread() -> None:
    async with in_time(), lt.open_nursery("run 7") as nursery:
        await nursery.enter(Hardware("lamp"))
        assert "lamp" in await in_thread(lambda: str(nursery.tree()))
        assert "run 7" in await in_thread(lambda: str(lt.lifecycle.tree()))


def test_without_anything_the_lifecycle_is_there() -> None:
    tree = lt.lifecycle.tree()
    assert tree.kind == "lifecycle"
    assert repr(lt.lifecycle).startswith("<lifecycle: ")
    assert tree.find("nothing of the kind") is None


def test_it_does_not_change() -> None:
    tree: Any = lt.lifecycle.tree()
    with pytest.raises(AttributeError):
        tree.name = "another"
