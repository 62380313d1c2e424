"""Blocking waits in a process of their own: Ctrl-C ends them and leaves nothing, and none holds up the end of the
process."""

import pytest

from support import Child, run_child

PATIENCE = 20.0
"""For a line from the child: a guard against hanging."""

WAITS = """
import asyncio, signal, sys, threading, time
import labtether as lt

lock, semaphore, slots, event = lt.Lock("deck"), lt.Semaphore(1), lt.Slots(["A1"]), lt.Event()
empty, full = lt.Channel(1), lt.Channel(1)
keeper = empty.sender()
full.send_nowait("x")

def take(block):
    with block:
        raise SystemExit("it was taken")

waits = {
    "lock": lambda: take(lock.sync),
    "semaphore": lambda: take(semaphore.sync),
    "slots": lambda: take(slots.take().sync),
    "event": event.sync.wait,
    "receive": empty.sync.receive,
    "iterate": lambda: next(iter(empty.sync)),
    "send": lambda: full.sync.send("y"),
    "asyncio": lambda: asyncio.run(enter(lock)),
    "asyncio event": lambda: asyncio.run(event.wait()),
    "trio": lambda: trio_run(enter, lock),
    "sleep": lambda: asyncio.run(lt.sleep(1000)),
    "trio sleep": lambda: trio_run(lt.sleep, 1000),
}

async def enter(block):
    async with block:
        raise SystemExit("it was taken")

def trio_run(*args):
    import trio
    trio.run(*args)

def waiting():
    many = [len(one.tree()["waiters"]) for one in (lock, semaphore, slots)]
    many += ["1 wait" in repr(event), empty.statistics().tasks_waiting_receive, full.statistics().tasks_waiting_send]
    return sum(many)
"""

INTERRUPTED = (
    WAITS
    + """
go_on, held = threading.Event(), threading.Event()

def hold():
    with lock.sync, semaphore.sync, slots.take().sync:
        held.set()
        go_on.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()

def tell():
    if "sleep" in sys.argv[1]:
        time.sleep(0.2)
    else:
        while not waiting():
            time.sleep(0.001)
    print("waits", flush=True)

threading.Thread(target=tell, daemon=True).start()
try:
    waits[sys.argv[1]]()
except KeyboardInterrupt:
    print("interrupted", waiting(), flush=True)
go_on.set()
with lock.sync, semaphore.sync, slots.take().sync:
    print("fine", lock.mine, flush=True)
event.set()
event.sync.wait()
assert full.receive_nowait() == "x"
full.sync.send("z")
assert full.sync.receive() == "z"
assert full.statistics().current_buffer_used == 0
empty.send_nowait("v")
assert empty.sync.receive() == "v"
print("all fine", flush=True)
"""
)

BLOCKING = ("lock", "semaphore", "slots", "event", "receive", "iterate", "send")


@pytest.mark.parametrize("what", [*BLOCKING, "asyncio", "asyncio event", "trio", "sleep", "trio sleep"])
def test_ctrl_c_ends_a_wait_that_has_taken_nothing(what: str) -> None:
    with Child(INTERRUPTED, what) as child:
        assert child.line(PATIENCE) == "waits"
        child.signal()
        assert child.line(PATIENCE) == "interrupted 0"
        assert child.line(PATIENCE) == "fine True"
        assert child.line(PATIENCE) == "all fine"
        assert child.finish().stderr == ""


AT_ANY_MOMENT = """
import signal, sys
import labtether as lt

of = {"lock": lt.Lock("deck"), "semaphore": lt.Semaphore(1), "slots": lt.Slots(["A1"])}[sys.argv[1]]
signal.signal(signal.SIGALRM, signal.default_int_handler)  # Ctrl-C by a clock
block = (lambda: of.take().sync) if sys.argv[1] == "slots" else (lambda: of.sync)
with block():
    pass
lost = 0
for number in range(5000):
    try:
        # Once more after a second: an interrupt that comes while CPython finalizes an object is only printed.
        signal.setitimer(signal.ITIMER_REAL, 0.000_001 + number / 50_000_000, 1.0)
        while True:
            with block():
                pass
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if of.tree()["holders"]:
        lost += 1
        of.__init__(*({"lock": (), "semaphore": (1,), "slots": (["A1"],)}[sys.argv[1]]))
print("lost", lost, flush=True)
"""


@pytest.mark.parametrize("what", ["lock", "semaphore", "slots"])
def test_ctrl_c_at_any_moment_around_a_block_of_a_thread_leaves_it_free(what: str) -> None:
    assert run_child(AT_ANY_MOMENT, what, timeout=60.0).stdout == "lost 0\n"


AT_EXIT = (
    WAITS
    + """
outcomes = []

def hold_for_ever():
    with lock.sync, semaphore.sync, slots.take().sync:
        held.set()
        time.sleep(1000)

held = threading.Event()
threading.Thread(target=hold_for_ever, daemon=True).start()
held.wait()

def wait():
    try:
        waits[sys.argv[1]]()
    except lt.LinkClosed as error:
        print(type(error).__name__, flush=True)

thread = threading.Thread(target=wait, daemon=sys.argv[2] == "daemon")
thread.start()
while not waiting():
    time.sleep(0.001)
print("ending", flush=True)
"""
)


@pytest.mark.parametrize("what", BLOCKING)
def test_a_thread_that_waits_does_not_hold_up_the_end_of_the_process(what: str) -> None:
    with Child(AT_EXIT, what, "joined") as child:
        assert child.line(PATIENCE) == "ending"
        finished = child.finish()
    assert finished.stdout.split() == ["LinkClosed"]
    assert finished.stderr == ""


@pytest.mark.parametrize("what", BLOCKING)
def test_nor_does_a_daemon(what: str) -> None:
    with Child(AT_EXIT, what, "daemon") as child:
        assert child.line(PATIENCE) == "ending"
        assert child.finish().stderr == ""


HELD_AT_EXIT = """
import threading
import labtether as lt

lock, channel = lt.Lock("deck"), lt.Channel(3)

def numbers():
    with lock.sync:
        yield 1

generator = numbers()
next(generator)
sender = channel.sender()
sender.send_nowait(object())
lock.sync.__enter__()
print("ending", flush=True)
"""


def test_what_is_held_at_the_end_of_the_process_says_nothing() -> None:
    finished = run_child(HELD_AT_EXIT)
    assert finished.stdout == "ending\n"
    assert finished.stderr == ""
