"""However a process ends, with whatever pending: gone in two seconds, quietly, instruments parked, ports free."""

import contextlib
import fcntl
import os
import socket
import struct
import textwrap
import time
from collections.abc import Callable, Iterator

import pytest

import labtether as lt
from support import Child, Finished, PtyInstrument, replies

LIMIT = 2.0
"""Law 7, in seconds."""

TIOCGEXCL = 0x80045440
"""Asks a terminal of Linux whether it is open exclusively."""

NOISE = (
    "never retrieved",
    "never awaited",
    "Exception ignored",
    "was destroyed",
    "Exception in thread",
    "Fatal Python error",
    "FATAL",
    "exception was never",
    "ResourceWarning",
)

SETUP = """
    import asyncio, math, sys, threading
    import labtether as lt

    BACKEND, ENDING, *PORTS = sys.argv[1:]
    FAR = 100.0
    links = [lt.serial(port, timeout=FAR, turn=FAR, park="PARK") for port in PORTS]
    started = threading.Semaphore(0)

    def blocked(link):
        started.release()
        try:
            link.sync.query("S")
        except lt.LinkClosed:
            return

    def start_workers(count):
        for number in range(count):
            link = links[number % len(links)]
            threading.Thread(target=blocked, args=(link,), daemon=bool(number // len(links) % 2)).start()
        for _ in range(count):
            started.acquire()

    async def ask(number):
        await links[number % len(links)].query("S")

    def leave():
        print("ending", flush=True)
        if ENDING == "exit":
            sys.exit(3)
        if ENDING == "error":
            raise RuntimeError("boom")
"""

ASYNCIO = """
    async def exit_in_a_task():
        leave()

    async def main():
        global leaving
        for link in links:
            await link.setup()
        start_workers(8)
        tasks = [asyncio.create_task(ask(number)) for number in range(1000)]
        while not all(task.get_coro().cr_await for task in tasks):
            await asyncio.sleep(0)
        if ENDING == "exit":
            leaving = asyncio.create_task(exit_in_a_task())
        else:
            leave()
        if ENDING != "return":
            await asyncio.Event().wait()

    leaving = None
    try:
        if BACKEND == "uvloop":
            import uvloop
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        else:
            asyncio.run(main())
    finally:
        if leaving is not None:
            leaving.exception()  # or asyncio complains of its own accord
"""

TRIO = """
    import trio, trio.testing

    async def exit_in_a_task():
        leave()

    async def main():
        for link in links:
            await link.setup()
        start_workers(8)
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
            if ENDING == "exit":
                nursery.start_soon(exit_in_a_task)
            else:
                leave()
            if ENDING == "return":
                nursery.cancel_scope.cancel()
            else:
                await trio.sleep_forever()

    def only(error):
        return only(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error

    try:
        trio.run(main)
    except BaseException as error:
        raise only(error) from None
"""

THREADS = """
    threading.stack_size(256 * 1024)
    for link in links:
        link.sync.setup()
    start_workers(1000)
    leave()
    if ENDING == "interrupt":
        links[0].sync.query("S")
"""

SCRIPTS = {"asyncio": ASYNCIO, "uvloop": ASYNCIO, "trio": TRIO, "threads": THREADS}
CODES = {"return": 0, "exit": 3, "error": 1, "interrupt": -2}


@pytest.fixture
def balances() -> Iterator[list[PtyInstrument]]:
    """Four that answer to nothing but ID."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(PtyInstrument(replies({b"ID": b"me\n"}))) for _ in range(4)]


def program(script: str) -> str:
    return textwrap.dedent(SETUP) + textwrap.dedent(script)


def ports_of(balances: list[PtyInstrument]) -> list[str]:
    return [balance.port for balance in balances]


def until(condition: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.002)


def assert_free(port: str) -> None:
    """Neither locked nor exclusive, and whoever opens it next can use it."""
    number = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (exclusive,) = struct.unpack("i", fcntl.ioctl(number, TIOCGEXCL, bytes(4)))
        assert not exclusive
    finally:
        os.close(number)
    with lt.serial(port).sync as link:
        assert link.query("ID") == "me"


def assert_parked(balance: PtyInstrument) -> None:
    """Its last words were heard, once, and nothing after them."""
    until(lambda: b"PARK" in balance.heard, f"PARK, but {balance.heard}")
    assert balance.heard.count(b"PARK") == 1
    assert balance.heard[-1] == b"PARK"


def assert_quiet(finished: Finished) -> None:
    for noise in NOISE:
        assert noise not in finished.stderr, finished.stderr


def assert_gone(finished: Finished, balances: list[PtyInstrument]) -> None:
    assert finished.seconds < LIMIT, f"{finished.seconds:.2f} s\n{finished.stderr}"
    assert_quiet(finished)
    for balance in balances:
        assert_parked(balance)
        assert_free(balance.port)


@pytest.mark.parametrize("ending", CODES)
@pytest.mark.parametrize("backend", SCRIPTS)
def test_a_thousand_pending_operations_do_not_hold_the_end(
    backend: str, ending: str, balances: list[PtyInstrument]
) -> None:
    with Child(program(SCRIPTS[backend]), backend, ending, *ports_of(balances)) as child:
        assert child.line(timeout=20.0) == "ending"
        for balance in balances:
            assert balance.wait_heard() == [b"S"]
        if ending == "interrupt":
            child.signal()
        finished = child.finish(code=CODES[ending])
    assert_gone(finished, balances)
    expected = {"return": [], "exit": [], "error": ["RuntimeError: boom"], "interrupt": ["KeyboardInterrupt"]}[ending]
    errors = [line for line in finished.stderr.splitlines() if line.startswith(("RuntimeError", "KeyboardInterrupt"))]
    assert errors == expected, finished.stderr
    assert bool(finished.stderr) == bool(expected), finished.stderr


@pytest.mark.parametrize("ending", ["return", "exit", "error"])
@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "worker"])
def test_a_loop_that_runs_in_another_thread_does_not_hold_the_end(
    daemon: bool, ending: str, balances: list[PtyInstrument]
) -> None:
    code = """
        async def patient(number):
            try:
                await ask(number)
            except lt.LinkClosed:
                return

        async def main():
            for link in links:
                await link.setup()
            tasks = [asyncio.create_task(patient(number)) for number in range(1000)]
            while not all(task.get_coro().cr_await for task in tasks):
                await asyncio.sleep(0)
            started.release()
            await asyncio.gather(*tasks)

        threading.Thread(target=asyncio.run, args=(main(),), daemon=BACKEND == "True").start()
        started.acquire()
        leave()
    """
    with Child(program(code), daemon, ending, *ports_of(balances)) as child:
        assert child.line(timeout=20.0) == "ending"
        finished = child.finish(code=CODES[ending])
    assert_gone(finished, balances)


@pytest.mark.parametrize("ending", ["return", "exit", "error", "interrupt"])
def test_a_pool_whose_workers_are_blocked_does_not_hold_the_end(ending: str, balances: list[PtyInstrument]) -> None:
    code = """
        from concurrent.futures import ThreadPoolExecutor

        for link in links:
            link.sync.setup()
        pool = ThreadPoolExecutor(8)
        for number in range(8):
            pool.submit(blocked, links[number % len(links)])
            started.acquire()
        leave()
        if ENDING == "interrupt":
            pool.submit(int).result()
    """
    with Child(program(code), "threads", ending, *ports_of(balances)) as child:
        assert child.line() == "ending"
        for balance in balances:
            balance.wait_heard()
        if ending == "interrupt":
            child.signal()
        finished = child.finish(code=CODES[ending])
    assert_gone(finished, balances)


@contextlib.contextmanager
def deaf_server() -> Iterator[int]:
    """A port of this machine that neither accepts nor refuses a connection: its queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(server.getsockname())
            except TimeoutError:
                break
        yield server.getsockname()[1]


def assert_ends_quietly(code: str, backend: str, *, times: int) -> None:
    for _ in range(times):
        with Child(program(code), backend, "return") as child:
            assert child.line() == "ending"
            finished = child.finish()
        assert finished.seconds < LIMIT
        assert finished.stderr == ""


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_daemon_threads_that_ask_to_the_very_end_do_not_crash_it(kind: str) -> None:
    code = """
        links = [lt.link("sim://balance") for _ in range(4)]

        def ask(link):
            started.release()
            while True:
                try:
                    link.sync.query("I4")
                except lt.LinkClosed:
                    continue

        async def ask_for_ever(link):
            while True:
                try:
                    await link.query("I4")
                except lt.LinkClosed:
                    await asyncio.sleep(0)

        async def main():
            started.release(16)
            await asyncio.gather(*[ask_for_ever(links[number % 4]) for number in range(200)])

        for link in links:
            link.sync.setup()
        if BACKEND == "loop":
            threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
        else:
            for number in range(16):
                threading.Thread(target=ask, args=(links[number % 4],), daemon=True).start()
        for _ in range(16):
            started.acquire()
        leave()
    """
    assert_ends_quietly(code, kind, times=10)


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_daemon_thread_that_computes_after_an_await_does_not_crash_the_end(kind: str) -> None:
    """What a loop runs in the step that an answer of ours began is not run under a frame of ours."""
    code = """
        async def main():
            await link.query("I4")
            started.release()
            while True:
                sum(range(1000))

        link = lt.link("sim://balance")
        link.sync.setup()
        if BACKEND == "trio":
            import trio
            run = lambda: trio.run(main)
        else:
            run = lambda: asyncio.run(main())
        threading.Thread(target=run, daemon=True).start()
        started.acquire()
        leave()
    """
    assert_ends_quietly(code, kind, times=3)


def test_a_link_can_be_touched_at_the_very_end() -> None:
    code = """
        import atexit

        def touch():
            try:
                link.sync.query("I4")
            except lt.LinkClosed as error:
                print(error, flush=True)

        atexit.register(touch)  # runs after ours, which is registered later
        link = lt.link("sim://balance")
        link.sync.setup()
        leave()
    """
    with Child(program(code), "none", "return") as child:
        assert child.line() == "ending"
        assert "is closed" in child.line()
        assert child.finish().seconds < LIMIT
