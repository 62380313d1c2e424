"""A process that forks with links open: its child is told at its first use, it notices nothing, and ports come free.

Everything here is in processes of its own: the one that runs the tests has threads, and must not fork.
"""

import contextlib
import fcntl
import os
import struct
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import labtether as lt
from support import Child, PtyInstrument, TcpInstrument, run_child
from support.child import TESTS

TIOCGEXCL = 0x80045440
"""Asks a terminal of Linux whether it is open exclusively."""

PATIENCE = 20.0
"""For a line from a child: a guard against hanging."""

SETUP = """
    import asyncio, os, signal, sys, threading, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns about what is tested here
    import labtether as lt

    URL = sys.argv[1]

    def say(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines, whoever else writes

    def told(what, use):
        began = time.monotonic()
        try:
            use()
            say(what, "works")
        except lt.ForkedProcess as error:
            cure = "spawn" if "spawn" in str(error) else "no cure"
            say(what, "forked", cure, "at once" if time.monotonic() - began < 1.0 else "late")
        except BaseException as error:
            say(what, type(error).__name__, error)

    class Forked:
        # A child that runs `work`, then waits to be let go, and ends as any program does.
        def __init__(self, work=lambda: None):
            self.wait, self.go = os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self.go)
                work()
                say("child done")
                os.read(self.wait, 1)
                sys.exit(0)
            os.close(self.wait)

        def is_alive(self):
            return os.waitpid(self.pid, os.WNOHANG) == (0, 0)

        def let_go(self):
            os.close(self.go)
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
"""


def program(script: str) -> str:
    return textwrap.dedent(SETUP) + textwrap.dedent(script)


def counting(command: bytes) -> bytes | None:
    return b"= " + command + b"\n" if command.isdigit() else None


@pytest.fixture(params=[PtyInstrument, TcpInstrument], ids=["pty", "tcp"])
def instrument(request: pytest.FixtureRequest) -> Iterator[PtyInstrument | TcpInstrument]:
    """Answers numbers."""
    with request.param(counting) as instrument:
        yield instrument


@pytest.fixture
def balance() -> Iterator[PtyInstrument]:
    with PtyInstrument(counting) as balance:
        yield balance


def assert_free(balance: PtyInstrument) -> None:
    """Neither locked nor exclusive."""
    number = os.open(balance.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    with contextlib.closing(os.fdopen(number, "rb", buffering=0)):
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (exclusive,) = struct.unpack("i", fcntl.ioctl(number, TIOCGEXCL, bytes(4)))
        assert not exclusive


USES = {
    "a query without a loop": 'lambda: link.sync.query("9")',
    "a query": 'lambda: asyncio.run(query("9"))',
    "a query on trio": 'lambda: __import__("trio").run(query, "9")',
    "setup": "lambda: link.sync.setup()",
    "awaited setup": "lambda: asyncio.run(setup(link))",
    "entering": "lambda: link.sync.__enter__()",
    "setup of a new link": "lambda: lt.link(URL).sync.setup()",
    "awaited setup of a new link": "lambda: asyncio.run(setup(lt.link(URL)))",
    "setup of a simulated one": 'lambda: lt.link("sim://balance").sync.setup()',
    "send": 'lambda: link.sync.send("9")',
    "urgent send": 'lambda: link.sync.send("9", urgent=True)',
    "receive": "lambda: link.sync.receive()",
    "exchange": "lambda: link.sync.exchange().__enter__()",
    "poll": 'lambda: next(link.sync.poll("9", every=1))',
    "messages": "lambda: next(link.sync.messages())",
    "stop": "lambda: link.sync.stop()",
}


@pytest.mark.parametrize("use", USES)
def test_the_first_use_in_the_child_is_an_error_at_once(use: str, instrument: PtyInstrument | TcpInstrument) -> None:
    code = f"""
        async def query(command):
            return await link.query(command)

        async def setup(link):
            await link.setup()

        link = lt.link(URL)
        link.sync.setup()
        say(link.sync.query("1"))
        forked = Forked(lambda: (told("first", {USES[use]}), told("second", {USES[use]})))
        input()
        say(link.sync.query("2"))
        say(forked.let_go())
        say(link.sync.query("3"))
        link.sync.stop()
    """
    with Child(program(code), instrument.url) as child:
        assert child.line(PATIENCE) == "= 1"
        assert child.line(PATIENCE) == "first forked spawn at once"
        assert child.line(PATIENCE) == "second forked spawn at once"
        assert child.line(PATIENCE) == "child done"
        child.say("go on")
        assert child.line(PATIENCE) == "= 2"
        assert child.line(PATIENCE) == "0"
        assert child.line(PATIENCE) == "= 3"
        assert child.finish().stderr == ""
    assert instrument.heard == [b"1", b"2", b"3"], "the child said nothing"


def test_looking_at_a_link_in_the_child_is_no_use_of_it(balance: PtyInstrument) -> None:
    code = """
        link = lt.link(URL, name="scale")
        link.sync.setup()

        def look():
            say(link.name, link.url == URL, "scale" in repr(link), link.timeout)
            link.state, link.trace()
            for name in list(globals()):
                globals().pop(name) if name == "link" else None

        forked = Forked(look)
        input()
        say(link.sync.query("1"), forked.let_go())
        link.sync.stop()
    """
    with Child(program(code), balance.url) as child:
        assert child.line(PATIENCE).startswith("scale ")
        assert child.line(PATIENCE) == "child done"
        child.say("go on")
        assert child.line(PATIENCE) == "= 1 0"
        assert child.finish().stderr == ""


def test_the_parents_link_goes_on_while_the_child_lives_and_dies(instrument: PtyInstrument | TcpInstrument) -> None:
    code = """
        link = lt.link(URL)
        link.sync.setup()
        for number in range(10):
            forked = Forked()
            assert link.sync.query(f"{2 * number}") == f"= {2 * number}"
            assert forked.let_go() == 0
            assert link.sync.query(f"{2 * number + 1}") == f"= {2 * number + 1}"
        link.sync.stop()
    """
    finished = run_child(program(code), instrument.url, timeout=PATIENCE)
    assert finished.stderr == ""
    assert instrument.heard == [b"%d" % number for number in range(20)]


def test_a_fork_in_the_midst_of_queries_disturbs_none(instrument: PtyInstrument | TcpInstrument) -> None:
    code = """
        link = lt.link(URL)
        link.sync.setup()
        asked, ending = 0, threading.Event()

        def ask():
            global asked
            while not ending.is_set():
                asked += 1
                assert link.sync.query(f"{asked}") == f"= {asked}"

        asking = threading.Thread(target=ask)
        asking.start()
        for _ in range(20):
            before = asked
            forked = Forked(lambda: told("child", lambda: link.sync.query("0")))
            while asked < before + 10:
                time.sleep(0.001)
            assert forked.let_go() == 0
        ending.set()
        asking.join()
        link.sync.stop()
        say(asked)
    """
    finished = run_child(program(code), instrument.url, timeout=60.0)
    lines = finished.stdout.splitlines()
    asked = int(lines[-1])
    assert lines.count("child forked spawn at once") == 20
    assert instrument.heard == [b"%d" % number for number in range(1, asked + 1)]
    assert finished.stderr == ""


def test_the_port_is_free_when_the_parent_closes_it_while_the_child_lives(balance: PtyInstrument) -> None:
    code = """
        link = lt.link(URL)
        link.sync.setup()
        forked = Forked(lambda: told("child", lambda: link.sync.query("9")))
        link.sync.stop()
        say("closed", forked.is_alive())
        input()
        link.sync.setup()
        say(link.sync.query("2"))
        link.sync.stop()
        say(forked.is_alive(), forked.let_go())
    """
    with Child(program(code), balance.url) as child:
        lines = {child.line(PATIENCE) for _ in range(3)}
        assert lines == {"child forked spawn at once", "child done", "closed True"}
        assert_free(balance)
        with lt.serial(balance.port).sync as link:  # by another process
            assert link.query("1") == "= 1"
        child.say("go on")
        assert child.line(PATIENCE) == "= 2"  # by the same
        assert child.line(PATIENCE) == "True 0"
        assert child.finish().stderr == ""


def test_the_port_is_free_when_the_parent_ends_while_the_child_lives(balance: PtyInstrument) -> None:
    code = """
        link = lt.link(URL, park="PARK")
        link.sync.setup()
        forked = Forked()
        say("pid", forked.pid)
        keep = os.dup(forked.go)
        if os.fork() == 0:
            # Holds the child's life line until the test says otherwise.
            input()
            os._exit(0)
    """
    with Child(program(code), balance.url) as child:
        lines = sorted(child.line(PATIENCE) for _ in range(2))
        assert lines[0] == "child done"
        pid = int(lines[1].split()[1])
        assert child.process.wait(PATIENCE) == 0
        os.kill(pid, 0)  # it lives
        assert balance.wait_heard() == [b"PARK"]
        assert_free(balance)
        child.say("go on")
        assert child.finish().stderr == ""
    assert balance.heard == [b"PARK"], "the parent's last words, and none of the child"


WORKER = """
    import labtether as lt

    def ask(url, question):
        with lt.link(url).sync as link:
            return link.query(question)

    def use(link_or_url):
        try:
            return lt.link(link_or_url).sync.setup() and "works"
        except lt.ForkedProcess as error:
            return "forked " + ("spawn" if "spawn" in str(error) else "no cure")
"""


@pytest.fixture
def importable(tmp_path: Path) -> dict[str, str]:
    """An environment in which `worker` can be imported by a process that multiprocessing starts."""
    tmp_path.joinpath("worker.py").write_text(textwrap.dedent(WORKER), "utf-8")
    path = [str(tmp_path), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, path))}
