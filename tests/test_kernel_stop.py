"""Jupyter's Stop button, in real kernels: whatever a cell waits for ends, the instrument is told, and usable after it.
The instruments are in this process."""

import socket
from collections.abc import Iterator

import pytest

from labtether.testing import ScriptedInstrument
from support.exchanges import PtyMachine, until_sync
from support.kernels import Cell, Kernel, jupyters_loop, kernel, psu, setting_up

__all__ = ["jupyters_loop", "kernel", "psu"]

LIMIT = 1.0
"""Seconds from the click until the kernel is idle; on a machine that does nothing else it is a fifth of that."""

STOPPED = ("CancelledError", "KeyboardInterrupt")


def within_the_limit(seconds: float) -> None:
    """Shown by `pytest -rP`."""
    print(f"click to idle: {seconds * 1000:.0f} ms")
    assert seconds < LIMIT


def stopped(cell: Cell) -> str:
    """The traceback of a cell that was stopped."""
    assert cell.error is not None, cell.told()
    assert cell.error[0] in STOPPED, cell.told()
    return cell.error[2]


AWAITING = 'await link.query("S", timeout=60)'
BLOCKING = 'link.sync.query("S", timeout=60)'


@pytest.mark.parametrize("code", [AWAITING, BLOCKING], ids=["awaiting", "blocking"])
def test_stop_ends_a_query_of_a_silent_instrument(kernel: Kernel, psu: ScriptedInstrument, code: str) -> None:
    kernel.fine(setting_up(psu.port))
    cell = kernel.start(code)
    until_sync(lambda: psu.heard == ["S"])
    within_the_limit(kernel.stop(cell))
    assert "labtether: the query 'S' on psu was cancelled: unconfirmed" in stopped(cell)
    psu.push("late")  # what was asked for, when nobody wants it any more
    assert kernel.fine('await link.query("ASK 1")').value == "'re 1'"
    assert kernel.fine("link.state").value == "'open'"


EXCHANGES = {
    "awaiting": """
async with link.exchange(timeout=60, abort=lt.Abort("HALT", reply="halted", timeout=10)) as talk:
    await talk.send("MOVE")
    await talk.receive()
""",
    "blocking": """
with link.sync.exchange(timeout=60, abort=lt.Abort("HALT", reply="halted", timeout=10)) as talk:
    talk.send("MOVE")
    talk.receive()
""",
    "trio": """
%autoawait trio
async with link.exchange(timeout=60, abort=lt.Abort("HALT", reply="halted", timeout=10)) as talk:
    await talk.send("MOVE")
    await talk.receive()
""",
}


@pytest.fixture
def asyncio_again(kernel: Kernel) -> Iterator[None]:
    """Whatever a test chooses, the next one's cells are asyncio's."""
    yield
    kernel.fine("%autoawait asyncio")


@pytest.mark.usefixtures("asyncio_again")
# A blocking call ends with its second Ctrl-C, and a third would be the kernel's, which drops what it was about to do.
@pytest.mark.parametrize(
    ("way", "clicks"), [*((way, clicks) for way in EXCHANGES for clicks in (1, 2)), ("awaiting", 4), ("trio", 4)]
)
def test_stop_in_an_exchange_sends_its_abort_however_often_it_is_clicked(kernel: Kernel, way: str, clicks: int) -> None:
    with PtyMachine("held") as machine:
        kernel.fine(setting_up(machine.port))
        cell = kernel.start(EXCHANGES[way])
        until_sync(lambda: machine.heard)
        clicked = kernel.interrupt()
        until_sync(lambda: machine.halts)
        for _ in range(clicks - 1):
            # While the machine is being stopped.
            kernel.interrupt()
        machine.let_through()
        cell.finish()
        assert cell.ended is not None
        within_the_limit(cell.ended - clicked)
        stopped(cell)
        # A blocking call's second Ctrl-C ends the wait for the answer to the abort, which is sent all the same.
        cut = way == "blocking" and clicks > 1
        assert kernel.fine("talk.effect").value == ("'unconfirmed'" if cut else "'halted'")
        assert machine.heard == [b"MOVE", b"HALT"]
        assert kernel.fine('await link.query("ASK 1")').value == "'re ASK 1'"
        kernel.fine("%autoawait asyncio\nawait link.stop()")


def test_stop_ends_a_poll_and_the_instrument_hears_no_more_of_it(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    cell = kernel.start("""
async for reading in link.poll("ASK 1", every=0.01):
    print(reading.value)
""").until("re 1\nre 1\n")
    within_the_limit(kernel.stop(cell))
    stopped(cell)
    asked = psu.heard.count("ASK 1")
    assert kernel.fine('await link.query("ASK 2")').value == "'re 2'"
    assert kernel.fine('await link.query("ASK 3")').value == "'re 3'"
    assert psu.heard[-2:] == ["ASK 2", "ASK 3"]
    assert psu.heard.count("ASK 1") <= asked + 1  # one was maybe on its way


WAITS = {
    "sleep": "await lt.sleep(60)",
    "lock": """
lock = lt.Lock("deck")
async def hold():
    async with lock:
        await asyncio.Event().wait()
holder = asyncio.ensure_future(hold())
await asyncio.sleep(0)
print("begun")
async with lock:
    pass
""",
    "message": "async for message in link.messages(): pass",
}


@pytest.mark.parametrize("wait", WAITS)
def test_stop_ends_whatever_else_a_cell_waits_for(kernel: Kernel, psu: ScriptedInstrument, wait: str) -> None:
    kernel.fine(setting_up(psu.port))
    cell = kernel.start(f"print('begun', flush=True)\n{WAITS[wait]}").until("begun")
    within_the_limit(kernel.stop(cell))
    stopped(cell)
    kernel.fine("if 'holder' in globals(): holder.cancel()")
    assert kernel.fine('await link.query("ASK 1")').value == "'re 1'"


def test_stop_ends_a_setup_and_leaves_nothing_of_it(kernel: Kernel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Whoever comes is let in, and never told whether this is a serial port.
        kernel.fine(f"link = lt.rfc2217('127.0.0.1', {server.getsockname()[1]}, connect_timeout=60)")
        cell = kernel.start("await link.setup()")
        server.settimeout(10)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1)
            within_the_limit(kernel.stop(cell))
            stopped(cell)
            connection.settimeout(10)
            while connection.recv(65536):  # until the other side has closed it
                continue
        assert kernel.fine("link.state").value == "'closed'"
        kernel.fine("del link")


def test_stop_in_a_nursery_cancels_its_children_and_their_last_words_are_said(
    kernel: Kernel, psu: ScriptedInstrument
) -> None:
    psu.when("PARK .+").silence()
    kernel.fine(setting_up(psu.port))
    cell = kernel.start("""
import anyio

async def child(name):
    try:
        await link.query("S", timeout=60)
    finally:
        with anyio.CancelScope(shield=True):
            await link.send(f"PARK {name}")
        print(name, "is parked")

async with lt.open_nursery("run 7") as nursery:
    nursery.start_soon(child, "left")
    nursery.start_soon(child, "right")
""")
    until_sync(lambda: psu.heard == ["S"])  # the other waits for its turn
    within_the_limit(kernel.stop(cell))
    stopped(cell)
    until_sync(lambda: sorted(psu.heard) == ["PARK left", "PARK right", "S"])
    for name in ("left", "right"):
        assert f"{name} is parked" in cell.text
    assert kernel.fine("nursery.children").value == "()"
    psu.push("late")
    assert kernel.fine('await link.query("ASK 1")').value == "'re 1'"
