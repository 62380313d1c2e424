"""Where virtual time begins and ends: what is open then, the real time behind it; threads, and waits without an end."""

import asyncio
import math
import threading
import time
from typing import Any

import anyio
import pytest

import labtether as lt
from labtether.testing import VirtualTime, virtual_time
from support import PtyInstrument, TcpInstrument, run_child, silent
from support.together import Worker, run_on, until_sync


def balance(**options: Any) -> lt.Link[str]:
    link: lt.Link[str] = lt.link("sim://balance", **options)
    return link


def test_it_is_on_once() -> None:
    with virtual_time(), pytest.raises(RuntimeError, match="on already"), virtual_time():
        pass
    with virtual_time() as clock:
        clock.advance(1)
        assert clock.elapsed == 1.0


def test_it_does_not_begin_while_a_link_is_open() -> None:
    scale = balance(name="my scale")
    with scale.sync, pytest.raises(RuntimeError, match=r"before anything is opened.*my scale"), virtual_time():
        pass
    with virtual_time():
        pass


async def test_it_does_not_begin_in_a_nursery_or_beside_a_sleep() -> None:
    async with lt.open_nursery("run 7") as nursery:
        with pytest.raises(RuntimeError, match="run 7"), virtual_time():
            pass
        nursery.cancel()
    async with anyio.create_task_group() as group:
        group.start_soon(lt.sleep, math.inf)
        await anyio.sleep(0.01)
        with pytest.raises(RuntimeError, match="a sleep"), virtual_time():
            pass
        group.cancel_scope.cancel()


async def test_a_loop_may_run_already_when_it_begins(backend: str) -> None:
    await lt.sleep(0.001)
    before = anyio.current_time()
    with virtual_time() as clock:
        await lt.sleep(30)
        assert clock.elapsed == 30.0
        if backend != "trio":
            await asyncio.sleep(30)
            assert clock.elapsed == pytest.approx(60.0, abs=1e-6)
            assert anyio.current_time() - before >= 60.0
    after = anyio.current_time()
    assert after >= before
    await anyio.sleep(0.001)
    await lt.sleep(0.001)
    assert anyio.current_time() > after


async def test_the_loop_goes_on_where_it_was_when_it_ends(backend: str) -> None:
    over: list[str] = []

    async def sleeper() -> None:
        await anyio.sleep(0.05 if backend == "trio" else 30.05)
        over.append("slept")

    async with anyio.create_task_group() as group:
        with virtual_time():
            group.start_soon(sleeper)
            await lt.sleep(30)
            assert not over
        # The rest of its time is real: it ends, and no deadline is missed.
    assert over == ["slept"]


def test_real_time_is_real_again() -> None:
    with virtual_time() as clock:
        clock.advance(1000)
    with balance().sync as scale:
        before = time.monotonic()
        scale.query("S")
        after = time.monotonic()
        heard = scale.trace()[-1]
    assert before + 0.4 <= heard.monotonic <= after
    assert abs(heard.time - time.time()) < 100
    before = time.monotonic()
    lt._core.block_on(lt.sleep, 0.02)
    assert time.monotonic() - before >= 0.02


def test_what_is_still_open_when_it_ends_goes_on() -> None:
    scale = balance().sync
    with virtual_time() as clock:
        scale.setup()
        clock.advance(1000)
        scale.query("S")
    before = time.monotonic()
    scale.query("S")
    assert time.monotonic() - before >= 0.4
    times = [event.monotonic for event in scale.trace()]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 1000.8
    scale.stop()
    until_sync(lambda: not lt._core.alive()[1])
    with scale:
        scale.query("SI")
        assert abs(scale.trace()[-1].monotonic - time.monotonic()) < 100


async def test_a_timeout_under_way_when_it_ends() -> None:
    async with anyio.create_task_group() as group:
        with virtual_time():
            scale = await balance().setup()
            failed: list[BaseException] = []

            async def ask() -> None:
                try:
                    await scale.query("QUIET", timeout=30.05)
                except lt.LinkTimeout as error:
                    failed.append(error)

            group.start_soon(ask)
            await lt.sleep(30)
    assert len(failed) == 1
    await scale.stop()


@pytest.mark.parametrize("line", [PtyInstrument, TcpInstrument])
def test_a_port_of_the_kernel_is_refused(line: Any) -> None:
    with line(silent) as instrument, virtual_time():
        link = lt.serial(instrument.port) if line is PtyInstrument else lt.tcp("127.0.0.1", instrument.port)
        with pytest.raises(lt.OpenFailed, match="memory") as refused:
            link.sync.setup()
        assert refused.value.kind == "unsupported"
        with pytest.raises(RuntimeError, match="memory"):
            lt.testing.balance()


def test_a_thread_waits_by_it_and_is_waited_for(virtual_time: VirtualTime) -> None:
    def weigh() -> float:
        with balance(keepalive=lt.KeepAlive("SI", every=1.0)).sync as scale:
            scale.query("S")
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                pass
            with pytest.raises(lt.LinkTimeout):
                scale.query("QUIET", timeout=30)
        return virtual_time.elapsed

    assert Worker(weigh).finish() == 30.4
    assert virtual_time.elapsed == 30.4


def test_threads_that_wait_for_each_other(virtual_time: VirtualTime) -> None:
    """A question, its answer 10 s later, and so on: told by events of threading."""
    asked, answered = threading.Event(), threading.Event()

    def answer() -> None:
        for _ in range(20):
            asked.wait()
            asked.clear()
            lt._core.block_on(lt.sleep, 10)
            answered.set()

    with balance(keepalive=lt.KeepAlive("SI", every=1.0), trace=1000).sync as scale, Worker(answer):
        for number in range(1, 21):
            asked.set()
            answered.wait()
            answered.clear()
            assert virtual_time.elapsed == 10.0 * number
        assert sum(event.direction == ">" for event in scale.trace()) == pytest.approx(200, abs=2)


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_a_loop_in_another_thread(virtual_time: VirtualTime, backend: str) -> None:
    async def main() -> float:
        async with balance() as scale:
            await anyio.sleep(10)
            await scale.query("S")
        return virtual_time.elapsed

    assert Worker(run_on, backend, main).finish() == pytest.approx(10.4, abs=1e-6)


async def test_a_function_in_a_thread_of_ours_is_waited_for(virtual_time: VirtualTime) -> None:
    def work() -> float:
        time.sleep(0.1)
        with balance().sync as scale:
            scale.query("S")
        time.sleep(0.1)
        return virtual_time.elapsed

    async with lt.open_nursery(timeout=1.0):
        assert await lt.run_sync(work) == 0.4
        for _ in range(50):
            await lt.run_sync(time.sleep, 0.002)
    assert virtual_time.elapsed == 0.4


@pytest.mark.backends("asyncio", "uvloop")
async def test_a_function_in_a_thread_of_anyios_is_waited_for(virtual_time: VirtualTime) -> None:
    async with lt.open_nursery(timeout=1.0):
        for _ in range(20):
            await anyio.to_thread.run_sync(time.sleep, 0.005)
            await lt.pause()
    assert virtual_time.elapsed == 0.0


async def test_a_framing_of_ones_own_is_waited_for(virtual_time: VirtualTime) -> None:
    class Slow:
        def encode(self, body: bytes) -> bytes:
            return body + b"\r\n"

        def take(self, buffer: bytearray) -> bytes | None:
            time.sleep(0.005)
            body, end, rest = bytes(buffer).partition(b"\r\n")
            if end:
                buffer[:] = rest
            return body if end else None

    async with lt.link("sim://balance", framing=Slow()) as scale:
        for number in range(1, 6):
            await scale.query(b"S", timeout=0.41)
            assert virtual_time.elapsed == pytest.approx(0.4 * number, abs=1e-9)


def test_a_thread_that_does_not_come_back_is_not_waited_for_for_ever(virtual_time: VirtualTime) -> None:
    go_on = threading.Lock()
    go_on.acquire()

    def sleep_once() -> None:
        lt._core.block_on(lt.sleep, 1)
        with go_on:
            pass

    worker = Worker(sleep_once)
    virtual_time.advance(5)
    assert virtual_time.elapsed == 5.0
    go_on.release()
    worker.finish()


ENDS = """
    import sys, threading
    import labtether as lt, labtether.testing

    lt.testing.virtual_time().__enter__()
    link = lt.link("sim://balance").sync.setup()
    if sys.argv[1] == "waiting":
        def wait():
            try:
                link.receive(timeout=float("inf"))
            except lt.LinkClosed as error:
                print(error, flush=True)

        threading.Thread(target=wait).start()
    elif sys.argv[1] == "in a loop":
        import asyncio

        async def main():
            asyncio.get_running_loop().call_later(1000, print, "never")
            await lt.sleep(5)
            sys.exit()

        asyncio.run(main())
    print("the end", flush=True)
"""


@pytest.mark.parametrize("how", ["idle", "waiting", "in a loop"])
def test_a_process_ends_while_it_is_on(how: str) -> None:
    run_child(ENDS, how)


FOR_EVER = """
    import math, os, signal, sys, threading
    import labtether as lt, labtether.testing

    async def ask(link):
        async with link:
            print("now", flush=True)
            await link.receive(timeout=math.inf)

    def main(how):
        link = lt.link("sim://balance")
        if how == "blocking":
            with link.sync as sync:
                print("now", flush=True)
                sync.receive(timeout=math.inf)
        elif how == "trio":
            import trio
            trio.run(ask, link)
        else:
            import asyncio, uvloop
            with asyncio.Runner(loop_factory=uvloop.new_event_loop if how == "uvloop" else None) as runner:
                runner.run(ask(link))

    how = sys.argv[1]
    if how in ("trio", "uvloop"):
        __import__(how)
    with lt.testing.virtual_time() as clock:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            main(how)
        except KeyboardInterrupt:
            print("interrupted", clock.elapsed)
        assert clock.elapsed == 0.0, clock.elapsed
"""


@pytest.mark.parametrize("how", ["blocking", "asyncio", "uvloop", "trio"])
def test_a_wait_without_an_end_ends_by_ctrl_c_and_no_time_passes(how: str) -> None:
    finished = run_child(FOR_EVER, how)
    assert "interrupted" in finished.stdout, finished
