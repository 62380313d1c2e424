"""The log: everything under `labtether.*`, with fields, and the traffic of the wires only where somebody reads it."""

import logging
from collections.abc import Iterator

import anyio
import pytest

import labtether as lt
from support.logs import Told


@pytest.fixture
def wires() -> Iterator[logging.Logger]:
    logger = logging.getLogger("labtether.wire")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(logging.NOTSET)


def test_traffic_is_logged_with_its_fields(told: Told, wires: logging.Logger) -> None:
    with lt.link("sim://balance", name="scale").sync as scale:
        scale.query("S")
    sent = told.wait_for("> 'S")
    assert (sent.name, sent.levelno) == ("labtether.wire", logging.DEBUG)
    fields = vars(sent)
    assert (fields["link"], fields["port"], fields["direction"], fields["data"]) == (
        "scale",
        "sim://balance",
        ">",
        b"S\r\n",
    )
    heard = told.wait_for("< ")
    assert vars(heard)["direction"] == "<"
    assert vars(heard)["time"] >= fields["time"]


def test_traffic_costs_nothing_where_nobody_reads_it(told: Told, wires: logging.Logger) -> None:
    wires.setLevel(logging.INFO)
    with lt.link("sim://balance", name="quiet").sync as scale:
        scale.query("S")
    wires.setLevel(logging.DEBUG)
    with lt.link("sim://balance", name="loud").sync as scale:
        scale.query("S")
    told.wait_for("loud ! closed")
    assert not [record for record in told.records if vars(record).get("link") == "quiet"]


def test_the_level_of_a_parent_counts_and_so_does_disabling(told: Told) -> None:
    logging.getLogger("labtether").setLevel(logging.DEBUG)
    try:
        with lt.link("sim://balance", name="first").sync:
            told.wait_for("first ! open")
        logging.disable(logging.DEBUG)
        with lt.link("sim://balance", name="second").sync:
            pass
        logging.disable(logging.NOTSET)
        with lt.link("sim://balance", name="third").sync:
            told.wait_for("third ! open")
    finally:
        logging.disable(logging.NOTSET)
    assert not [record for record in told.records if "second" in record.getMessage()]


async def test_a_failed_child_is_in_the_log_at_once(told: Told) -> None:
    logging.getLogger("labtether").setLevel(logging.INFO)
    failed = anyio.Event()

    async def heater() -> None:
        with lt.situation("heating to 95 degrees"):
            try:
                raise ValueError("no sensor")
            finally:
                failed.set()

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await failed.wait()
            # The nursery has not ended, and cannot yet: the log has it already.
            await anyio.lowlevel.checkpoint()
            seen.append(told.wait_for("heater failed"))

    seen: list[logging.LogRecord] = []
    with pytest.raises(ExceptionGroup):
        async with lt.open_nursery("run 7") as nursery:
            nursery.start_soon(stubborn)
            nursery.start_soon(heater, name="heater")
    (record,) = seen
    assert record.name == "labtether.nursery"
    fields = vars(record)
    assert (fields["nursery"], fields["child"]) == ("run 7", "heater")


async def test_a_deadlock_through_the_turn_on_a_link_is_found() -> None:
    deck, inside, taken = lt.Lock("deck"), anyio.Event(), anyio.Event()

    async def weigh(scale: lt.Link[str]) -> None:
        async with scale.exchange():
            inside.set()
            await taken.wait()
            async with deck:
                raise AssertionError("the other holds it, and waits for this exchange")

    async def move(scale: lt.Link[str]) -> None:
        async with deck:
            await inside.wait()
            taken.set()
            await scale.query("S")

    async with lt.link("sim://balance", name="scale") as scale:
        with pytest.raises(ExceptionGroup) as caught:
            async with lt.open_nursery("deck work") as nursery:
                nursery.start_soon(weigh, scale, name="weigh")
                nursery.start_soon(move, scale, name="move")
        (error,) = caught.value.exceptions
        assert isinstance(error, lt.Deadlock)
        assert sorted(error.cycle) == [
            "task 'move' waits for a turn on scale, which task 'weigh' holds",
            "task 'weigh' waits for lock deck, which task 'move' holds",
        ]
        assert await scale.query("S", parse=lt.number) == pytest.approx(42.0)
    assert not deck.locked
