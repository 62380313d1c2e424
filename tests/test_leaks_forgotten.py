"""More of test_leaks.py: links that were forgotten, and runs that ended in the middle."""

import gc
import threading
import warnings

import anyio
import anyio.lowlevel
import pytest

import labtether as lt
from support import PtyInstrument, TcpInstrument
from test_leaks import SETTLE, WARM_UP, Flat, Run, balance, here, instrument, repeat, run  # noqa: F401  fixtures among them


def test_runs_that_leave_the_link_to_the_next(run: Run, instrument: PtyInstrument | TcpInstrument) -> None:
    link = lt.link(instrument.url, settle=SETTLE)
    link.sync.setup()

    async def main() -> None:
        assert await link.query("ID") == "me"

    repeat(lambda: run(main), WARM_UP // 4, forgets=False)
    with Flat():
        repeat(lambda: run(main), 200, forgets=False)
    link.sync.stop()


def test_runs_that_leave_iterators_and_exchanges_open(run: Run, instrument: PtyInstrument | TcpInstrument) -> None:
    async def main() -> None:
        link = await lt.link(instrument.url, timeout=60.0, settle=SETTLE).setup()
        messages = await link.messages().__aenter__()
        poll = await link.poll("ID", every=60.0).__aenter__()
        assert (await anext(poll)).value == "me"
        talk = await link.exchange().__aenter__()
        assert messages is not None
        assert talk is not None

    repeat(lambda: run(main), WARM_UP // 4, forgets=True)
    with Flat():
        repeat(lambda: run(main), 200, forgets=True)


def test_threads_that_end_and_forget_to_close(instrument: PtyInstrument | TcpInstrument) -> None:
    def use() -> None:
        link = lt.link(instrument.url, settle=SETTLE)
        link.sync.setup()
        assert link.sync.query("ID") == "me"

    def in_a_thread() -> None:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()

    repeat(in_a_thread, WARM_UP // 4, forgets=True)
    with Flat():
        repeat(in_a_thread, 200, forgets=True)


async def test_a_forgotten_link_says_where_it_was_set_up_and_frees_its_port(
    instrument: PtyInstrument | TcpInstrument,
) -> None:
    for _ in range(50):
        link = await lt.link(instrument.url, name="scale").setup()
        assert await link.query("ID") == "me"
        with pytest.warns(ResourceWarning, match=r"scale .*never stopped") as caught:
            del link
        assert here() in str(caught[0].message)
        assert len(caught) == 1
        async with lt.link(instrument.url, settle=SETTLE) as following:
            assert await following.query("ID") == "me"


def test_a_forgotten_link_without_a_loop_frees_its_port_at_once(instrument: PtyInstrument | TcpInstrument) -> None:
    for _ in range(50):
        link = lt.link(instrument.url, name="scale")
        link.sync.setup()
        assert link.sync.query("ID") == "me"
        with pytest.warns(ResourceWarning, match=r"scale .*never stopped") as caught:
            del link
        assert here() in str(caught[0].message)
        with lt.link(instrument.url, settle=SETTLE).sync as following:
            assert following.query("ID") == "me"


async def test_a_link_in_a_cycle_of_references_frees_its_port_for_the_next(balance: PtyInstrument) -> None:
    class Scale:
        def __init__(self) -> None:
            self.link = lt.serial(balance.port, name="scale")
            self.myself = self

    scale = Scale()
    await scale.link.setup()
    del scale
    with pytest.warns(ResourceWarning, match=r"scale .*never stopped"):
        gc.collect()
    async with lt.serial(balance.port) as following:
        assert await following.query("ID") == "me"


async def test_a_forgotten_link_parks_its_instrument(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port, park="PARK").setup()
    with pytest.warns(ResourceWarning):
        del link
    assert await balance.until_heard() == [b"PARK"]


async def test_a_link_whose_stream_is_alive_is_not_forgotten_by_rust(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port).setup()
    messages = link.messages()
    async with messages as heard:
        del link
        balance.send(b"hello\n")
        assert await anext(heard) == "hello"
    with pytest.warns(ResourceWarning):
        del messages, heard


async def test_a_pending_query_keeps_its_link(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port, timeout=60.0).setup()
    answers: list[object] = []

    async def ask(link: lt.Link[str]) -> None:
        answers.append(await link.query("S"))

    async def ask_and_forget() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, links.pop())
            await balance.until_heard()
            gc.collect()
            balance.send(b"1.5\n")
        gc.collect()

    links = [link]
    del link
    with pytest.warns(ResourceWarning):
        await ask_and_forget()
    assert answers == ["1.5"]


async def test_what_was_stopped_or_never_set_up_is_dropped_in_silence(balance: PtyInstrument) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20):
            lt.serial(balance.port)
            link = await lt.serial(balance.port).setup()
            await link.stop()
            del link
            async with lt.serial(balance.port) as link:
                pass
            del link
            with pytest.raises(lt.OpenFailed):
                await lt.serial("/dev/no-such-port").setup()
        gc.collect()
    assert caught == []


async def test_a_lost_link_is_dropped_in_silence(balance: PtyInstrument) -> None:
    link = await lt.serial(balance.port).setup()
    balance.unplug()
    while link.state != "lost":
        await anyio.sleep(0.001)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del link
        gc.collect()
    assert caught == []


def test_memory_stays_flat_while_a_link_talks(balance: PtyInstrument) -> None:
    with lt.serial(balance.port).sync as link:

        def talk(count: int) -> None:
            for _ in range(count):
                assert link.query("ID") == "me"

        talk(2000)
        with Flat():
            talk(20_000)
