"""More of test_exit.py: processes that end while things are pending."""

import pytest

from support import Child, PtyInstrument, TcpInstrument
from test_exit import (  # noqa: F401  fixtures among them
    CODES,
    LIMIT,
    assert_free,
    assert_gone,
    assert_parked,
    assert_quiet,
    balances,
    deaf_server,
    ports_of,
    program,
    until,
)


@pytest.mark.parametrize("loop", ["asyncio", "trio", "threads"])
def test_links_that_were_set_up_and_left_idle_are_parked(loop: str, balances: list[PtyInstrument]) -> None:
    code = """
        async def main():
            for link in links:
                await link.setup()
                assert await link.query("ID") == "me"

        if BACKEND == "asyncio":
            asyncio.run(main())
        elif BACKEND == "trio":
            import trio
            trio.run(main)
        else:
            for link in links:
                link.sync.setup()
                assert link.sync.query("ID") == "me"
        leave()
    """
    with Child(program(code), loop, "return", *ports_of(balances)) as child:
        assert child.line() == "ending"
        finished = child.finish()
    assert finished.stderr == ""
    assert_gone(finished, balances)


def test_links_that_nothing_refers_to_are_parked_at_once_with_a_warning(balances: list[PtyInstrument]) -> None:
    code = """
        import gc, warnings
        warnings.simplefilter("always")

        async def main():
            for port in PORTS:
                await lt.serial(port, park="PARK", name="forgotten").setup()

        del links
        asyncio.run(main())
        gc.collect()
        print("forgotten", flush=True)
        input()
        leave()
    """
    with Child(program(code), "asyncio", "return", *ports_of(balances)) as child:
        assert child.line() == "forgotten"
        for balance in balances:
            assert_parked(balance)
            assert_free(balance.port)
        child.say("go on")
        finished = child.finish()
    assert finished.seconds < LIMIT
    assert finished.stderr.count("ResourceWarning: forgotten") == len(balances)


@pytest.mark.parametrize("waits", ["stream", "receive", "exchange", "iterators"])
def test_other_waits_do_not_hold_the_end(waits: str, balances: list[PtyInstrument]) -> None:
    code = """
        def wait(link):
            try:
                if BACKEND == "stream":
                    for _ in link.sync.poll("S", every=FAR):
                        pass
                elif BACKEND == "receive":
                    link.sync.receive()
                elif BACKEND == "iterators":
                    for _ in link.sync.messages():
                        pass
                else:
                    with link.sync.exchange() as talk:
                        talk.send("S")
                        talk.receive()
            except lt.LinkClosed:
                return

        for link in links:
            link.sync.setup()
        for number in range(8):
            threading.Thread(target=wait, args=(links[number % 4],), daemon=number > 3).start()
        print("waiting", flush=True)
        input()
        leave()
    """
    with Child(program(code), waits, "return", *ports_of(balances)) as child:
        assert child.line() == "waiting"
        if waits in ("stream", "exchange"):
            for balance in balances:
                balance.wait_heard()
        child.say("go on")
        assert child.line() == "ending"
        finished = child.finish()
    assert finished.stderr == ""
    assert_gone(finished, balances)


@pytest.mark.parametrize("ending", ["return", "error", "interrupt"])
def test_an_opening_that_never_ends_does_not_hold_the_end(ending: str) -> None:
    code = """
        links = [lt.tcp("127.0.0.1", int(PORTS[0]), connect_timeout=FAR) for _ in range(4)]

        def open_it(link):
            started.release()
            try:
                link.sync.setup()
            except lt.LinkClosed:
                return

        for link, daemon in zip(links[1:], [True, False, True]):
            threading.Thread(target=open_it, args=(link,), daemon=daemon).start()
            started.acquire()
        while not all(link.state == "opening" for link in links[1:]):
            pass
        leave()
        if ENDING == "interrupt":
            links[0].sync.setup()
    """
    with deaf_server() as port, Child(program(code), "threads", ending, port) as child:
        assert child.line() == "ending"
        if ending == "interrupt":
            child.signal()
        finished = child.finish(code=CODES[ending])
    assert finished.seconds < LIMIT
    assert_quiet(finished)


@pytest.mark.parametrize("ending", ["return", "error"])
@pytest.mark.parametrize("kind", [PtyInstrument, TcpInstrument], ids=["pty", "tcp"])
def test_a_line_that_takes_no_bytes_does_not_hold_the_end(
    kind: type[PtyInstrument | TcpInstrument], ending: str
) -> None:
    code = """
        link = lt.link(PORTS[0], timeout=FAR, close_timeout=FAR, park="PARK")
        link.sync.setup()

        def send():
            started.release()
            try:
                link.sync.send("x" * 20_000_000)
            except lt.LinkClosed:
                return

        threading.Thread(target=send).start()
        started.acquire()
        while not link.trace()[-1].direction == ">":
            pass
        del links[:]
        leave()
    """
    with kind() as instrument:
        instrument.stall()
        with Child(program(code), "threads", ending, instrument.url) as child:
            assert child.line() == "ending"
            finished = child.finish(code=CODES[ending])
        assert finished.seconds < LIMIT
        assert_quiet(finished)
        if isinstance(instrument, PtyInstrument):
            instrument.resume()
            until(lambda: bool(instrument.heard), "its last words")
            assert instrument.heard[0].strip(b"x") == b"PARK", "what stood in the way was discarded"


def test_a_process_that_never_used_it_ends_as_before() -> None:
    with Child("import labtether; print('ending', flush=True)") as child:
        assert child.line() == "ending"
        finished = child.finish()
    assert finished.stderr == ""
    assert finished.seconds < LIMIT


def test_what_is_stopped_before_the_end_is_not_parked_again(balances: list[PtyInstrument]) -> None:
    code = """
        for link in links:
            with link.sync:
                assert link.sync.query("ID") == "me"
        leave()
    """
    with Child(program(code), "threads", "return", *ports_of(balances)) as child:
        assert child.line() == "ending"
        finished = child.finish()
    assert finished.stderr == ""
    assert finished.seconds < LIMIT
    for balance in balances:
        assert balance.heard == [b"ID"], "`park` is for when no Python can say it"
        assert_free(balance.port)


def test_the_exit_functions_of_the_program_find_links_closed(balances: list[PtyInstrument]) -> None:
    code = """
        import atexit

        def too_late():
            for link in links:
                try:
                    link.sync.query("ID")
                except lt.LinkClosed:
                    print("closed", flush=True)
                link.sync.stop()
            try:
                lt.serial(PORTS[0]).sync.setup()
            except lt.LinkClosed as error:
                print(error, flush=True)

        atexit.register(too_late)
        for link in links:
            link.sync.setup()
        leave()
    """
    with Child(program(code), "threads", "return", *ports_of(balances)) as child:
        assert child.line() == "ending"
        finished = child.finish()
    assert finished.stdout.count("closed\n") == len(balances)
    assert "the process is ending" in finished.stdout
    assert finished.stderr == ""
    assert_gone(finished, balances)
