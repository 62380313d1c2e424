"""Ctrl-C, in a process of its own: every blocking call ends within a second, and the link is as good as before."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from typing import Self

import pytest

from support import Child, PtyInstrument, TcpInstrument, replies

LIMIT = 1.0
"""Seconds from Ctrl-C to KeyboardInterrupt."""

PATIENCE = 20.0
"""For a line from the child: a guard against hanging."""

ANSWERS = {b"ID": b"me\n", b"ME": b"you\n"}

MUCH = 20_000_000
"""More bytes than any line holds."""

CHILD = f"""
import asyncio, os, signal, sys, threading, time
import labtether as lt

CALL, URL = sys.argv[1:3]
FAR, MUCH = 100.0, {MUCH}
TASK = f"/proc/self/task/{{threading.get_native_id()}}/stat"
raw = CALL in ("read", "read_until", "read_some", "write")
options = {{"connect_timeout": FAR}} if CALL == "setup" else {{}}
link = lt.link(URL, timeout=FAR, turn=FAR, close_timeout=0.5, framing=None if raw else "\\n", **options)
sync = link.sync

async def ask():
    return await link.query("S")

def exchange():
    with sync.exchange() as talk:
        talk.send("S")
        return talk.receive()

def poll():
    with sync.poll("S", every=FAR) as readings:
        return next(readings)

def messages():
    with sync.messages() as heard:
        return next(heard)

def by_trio():
    import trio
    return trio.run(ask)

def by_uvloop():
    import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ask())

calls = {{
    "setup": sync.setup,
    "query": lambda: sync.query("S"),
    "receive": sync.receive,
    "exchange": exchange,
    "poll": poll,
    "messages": messages,
    "read": lambda: sync.read(3),
    "read_until": lambda: sync.read_until(b">"),
    "read_some": sync.read_some,
    "send": lambda: sync.send("x" * MUCH),
    "write": lambda: sync.write(b"x" * MUCH),
    "asyncio": lambda: asyncio.run(ask()),
    "uvloop": by_uvloop,
    "trio": by_trio,
}}

def tell_when_blocked():
    # Asleep each time one looks, and having used no processor time in between: blocked, not on its way.
    def look():
        with open(TASK) as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return fields[0], fields[11], fields[12]

    quiet, last = 0, None
    while quiet < 20:
        time.sleep(0.002)
        now = look()
        quiet = quiet + 1 if begun and now[0] == "S" and now == last else 0
        last = now
    print("blocked", flush=True)

lines = []

def read_lines():
    # A thread, because an interrupt that comes as readline() returns would lose the line.
    heard = b""
    while part := os.read(0, 4096):
        *whole, heard = (heard + part).split(b"\\n")
        lines.extend(line.decode() for line in whole)

threading.Thread(target=read_lines, daemon=True).start()

def told(what):
    # Whatever further interrupts come in between, they end nothing but a nap.
    while True:
        try:
            while what not in lines:
                time.sleep(0.002)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return
        except KeyboardInterrupt:
            continue

if CALL != "setup":
    sync.setup()
begun = False
print("ready", flush=True)
told("begin")
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=tell_when_blocked, daemon=True).start()
outcome = "nothing"
try:
    try:
        begun = True
        calls[CALL]()
        outcome = "returned"
    except KeyboardInterrupt as interrupt:
        outcome = "interrupted"
        print(outcome, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
told("check")
if CALL == "setup":
    print(link.state, flush=True)
    told("set up again")
    sync.setup()
print(link.state, flush=True)
if CALL == "write":
    sync.write(b"\\n")  # raw bytes have no end of their own
questions = [b"ID\\n", b"ME\\n"] if raw else ["ID", "ME"]
print(*[sync.query(question, framing="\\n") for question in questions], flush=True)
sync.stop()
print(link.state, flush=True)
"""

ASKING = ("query", "exchange", "poll", "asyncio", "uvloop", "trio")
WRITING = ("send", "write")
WAITING = ("receive", "messages", "read", "read_until", "read_some")


def interrupted(child: Child, times: int = 1) -> float:
    """Ctrl-C so many times; seconds from the last until the child says that it was interrupted."""
    for _ in range(times):
        child.signal()
    began = time.monotonic()
    assert child.line(PATIENCE) == "interrupted"
    return time.monotonic() - began


@pytest.mark.parametrize("times", [1, 2, 5], ids=["once", "twice", "five times"])
@pytest.mark.parametrize("kind", [PtyInstrument, TcpInstrument], ids=["pty", "tcp"])
@pytest.mark.parametrize("call", [*ASKING, *WRITING, *WAITING])
def test_a_blocking_call_is_interrupted_and_the_link_goes_on(
    call: str, kind: type[PtyInstrument | TcpInstrument], times: int
) -> None:
    with kind(replies(ANSWERS)) as instrument, Child(CHILD, call, instrument.url) as child:
        assert child.line(PATIENCE) == "ready"
        if call in WRITING:
            instrument.stall()
        child.say("begin")
        if call in ASKING:
            instrument.wait_heard()
        assert child.line(PATIENCE) == "blocked"
        assert interrupted(child, times) < LIMIT
        child.say("check")
        assert child.line(PATIENCE) == "open"
        if call in ASKING:
            # The reply that is still owed, late: it is nobody's answer.
            instrument.send(b"1.5\n")
        if call in WRITING:
            instrument.resume()
        assert child.line(PATIENCE) == "me you"
        assert child.line(PATIENCE) == "closed"
        assert child.finish().stderr == ""


class DeafServer:
    """Listens on a port of this machine, and neither accepts nor refuses, until it is told to answer."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            self.fillers = stack.enter_context(contextlib.ExitStack())
            self.url = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
            while True:
                filler = self.fillers.enter_context(socket.socket())
                filler.settimeout(0.2)
                try:
                    filler.connect(self.server.getsockname())
                except TimeoutError:
                    break
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def begin_to_answer(self) -> None:
        """Make room in the queue."""
        self.fillers.close()
        while select.select([self.server], [], [], 0.05)[0]:
            self.server.accept()[0].close()

    def answer(self) -> Iterator[bytes]:
        """Talk to the next who connects, until it hangs up; what it asked."""
        connection, _ = self.server.accept()
        with connection, connection.makefile("rb") as commands:
            connection.settimeout(PATIENCE)
            for command in commands:
                connection.sendall(ANSWERS[command.rstrip()])
                yield command.rstrip()


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_setup_of_a_port_that_does_not_answer_is_interrupted_and_leaves_nothing(times: int) -> None:
    with DeafServer() as server, Child(CHILD, "setup", server.url) as child:
        assert child.line(PATIENCE) == "ready"
        child.say("begin")
        assert child.line(PATIENCE) == "blocked"
        assert interrupted(child, times) < LIMIT
        child.say("check")
        assert child.line(PATIENCE) == "closed"
        server.begin_to_answer()
        child.say("set up again")
        assert list(server.answer()) == [b"ID", b"ME"]
        assert child.line(PATIENCE) == "open"
        assert child.line(PATIENCE) == "me you"
        assert child.line(PATIENCE) == "closed"
        assert child.finish().stderr == ""


AT_ANY_MOMENT = """
import signal, sys, threading, time
import labtether as lt

URL, ROUNDS = sys.argv[1], int(sys.argv[2])
link = lt.link(URL, close_timeout=0.5)
sync = link.sync

def use(number):
    # Every blocking call, one after the other, over and over.
    while True:
        sync.setup()
        assert sync.query(f"{number}") == f"= {number}"
        with sync.exchange() as talk:
            talk.send(f"{number}")
            assert talk.receive() == f"= {number}"
        sync.send("hush")
        with sync.poll(f"{number}", every=0, count=2) as readings:
            assert [reading.value for reading in readings] == [f"= {number}"] * 2
        sync.stop()
        assert link.state == "closed"

print("ready", flush=True)
for number in range(ROUNDS):
    sys.stdin.readline()
    try:
        print("using", flush=True)
        use(number)
    except KeyboardInterrupt:
        pass
    # As good as before, whatever was interrupted; nothing of the round before comes as an answer.
    sync.setup()
    for fresh in range(1000 + number, 1003 + number):
        assert sync.query(f"{fresh}") == f"= {fresh}", fresh
    sync.stop()
    assert link.state == "closed"
    print("fine", flush=True)
"""


def echoing(command: bytes) -> bytes | None:
    return b"= " + command + b"\n" if command.isdigit() else None


@pytest.mark.parametrize("kind", [PtyInstrument, TcpInstrument], ids=["pty", "tcp"])
def test_ctrl_c_at_any_moment_of_any_call(kind: type[PtyInstrument | TcpInstrument]) -> None:
    rounds = 60
    with kind(echoing) as instrument, Child(AT_ANY_MOMENT, instrument.url, rounds) as child:
        assert child.line(PATIENCE) == "ready"
        for number in range(rounds):
            child.say("go on")
            assert child.line(PATIENCE) == "using"
            instrument.wait_heard(len(instrument.heard) + number % 7)  # into it, a different way each time
            child.signal()
            assert child.line(PATIENCE) == "fine"
        assert child.finish().stderr == ""


STOPPING = """
import signal, sys, time
import labtether as lt

link = lt.link(sys.argv[1], close_timeout=0.5)
sync = link.sync
signal.signal(signal.SIGALRM, signal.default_int_handler)  # Ctrl-C by a clock
for number in range(300):
    sync.setup()
    assert sync.query("ID") == "me"
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.000_001 + number / 200_000)
        sync.stop()
        time.sleep(1)
    except KeyboardInterrupt:
        pass
    sync.stop()
    assert link.state == "closed", link.state
print("fine", flush=True)
"""


@pytest.mark.parametrize("kind", [PtyInstrument, TcpInstrument], ids=["pty", "tcp"])
def test_stop_is_interrupted_at_any_moment_and_closes_all_the_same(kind: type[PtyInstrument | TcpInstrument]) -> None:
    with kind(replies(ANSWERS)) as instrument, Child(STOPPING, instrument.url) as child:
        assert child.line(60.0) == "fine"
        assert child.finish().stderr == ""
