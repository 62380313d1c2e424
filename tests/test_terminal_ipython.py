"""Ctrl-C in terminal IPython: what a cell awaits has ended, and its abort was sent, when the prompt is back.

IPython runs its loop for a cell and leaves it on Ctrl-C, with the cell's task pending; `_ipython.py` ends it.
"""

import time
from collections.abc import Iterator

import pytest

from support import run_child
from support.exchanges import PtyMachine, until_sync
from support.kernels import setting_up
from support.terminals import TerminalIPython

LIMIT = 1.0
"""Seconds from Ctrl-C to the prompt."""

PROMPT = r"In \[\d+\]: $"

ABORT = "timeout=60, abort=lt.Abort('HALT', reply='halted', timeout=10)"


@pytest.fixture(scope="module", params=[(), ("--simple-prompt",)], ids=["prompt_toolkit", "simple prompt"])
def terminal(request: pytest.FixtureRequest) -> Iterator[TerminalIPython]:
    with TerminalIPython(*request.param) as terminal:
        terminal.run("import asyncio, time, labtether as lt; ip = get_ipython()")
        yield terminal
        assert terminal.finish() == 0


@pytest.fixture
def machine(terminal: TerminalIPython) -> Iterator[PtyMachine]:
    """A machine that waits with its answer to an abort; `link` leads there."""
    with PtyMachine("held") as machine:
        terminal.run(setting_up(machine.port))
        yield machine
        terminal.run("%autoawait asyncio")
        terminal.run("await link.stop()")


def asked(machine: PtyMachine, terminal: TerminalIPython, line: str) -> None:
    """Type a line that the machine hears of, and that waits for it."""
    before = len(machine.heard)
    terminal.type(line)
    until_sync(lambda: len(machine.heard) > before)
    terminal.until_asleep()


def interrupted(terminal: TerminalIPython) -> str:
    """One Ctrl-C; the screen until the prompt is back."""
    pressed = terminal.ctrl_c()
    screen = terminal.wait_for(PROMPT)
    seconds = time.monotonic() - pressed
    print(f"Ctrl-C to prompt: {seconds * 1000:.0f} ms")
    assert seconds < LIMIT
    assert "KeyboardInterrupt" in screen
    return screen


def in_step(terminal: TerminalIPython, machine: PtyMachine) -> None:
    """The next questions get their own answers."""
    for number in range(2):
        assert f"'re ASK {number}'" in terminal.run(f"await link.query('ASK {number}')")


@pytest.mark.parametrize("runner", ["asyncio", "trio"])
def test_ctrl_c_ends_a_query(terminal: TerminalIPython, machine: PtyMachine, runner: str) -> None:
    terminal.run(f"%autoawait {runner}")
    asked(machine, terminal, "await link.query('MOVE', timeout=60)")
    screen = interrupted(terminal)
    assert "labtether: the query 'MOVE' on psu was cancelled: unconfirmed" in screen
    machine.finish()
    in_step(terminal, machine)


@pytest.mark.parametrize("presses", [1, 2, 4])
@pytest.mark.parametrize("runner", ["asyncio", "trio"])
def test_ctrl_c_sends_the_abort_and_waits_for_it_however_often_it_is_pressed(
    terminal: TerminalIPython, machine: PtyMachine, runner: str, presses: int
) -> None:
    terminal.run(f"%autoawait {runner}")
    asked(machine, terminal, f"await link.query('MOVE', {ABORT})")
    pressed = terminal.ctrl_c()
    until_sync(lambda: machine.halts)
    print(f"Ctrl-C to abort: {(time.monotonic() - pressed) * 1000:.0f} ms")
    for _ in range(presses - 1):
        terminal.ctrl_c()
        terminal.wait_for(r"\^C")  # the terminal has sent the signal
    machine.let_through()
    screen = terminal.wait_for(PROMPT)
    assert "labtether: the query 'MOVE' on psu was cancelled: halted" in screen
    assert machine.heard[-2:] == [b"MOVE", b"HALT"]
    in_step(terminal, machine)


def test_an_abort_may_take_longer_than_a_clean_up(terminal: TerminalIPython, machine: PtyMachine) -> None:
    asked(machine, terminal, f"await link.query('MOVE', {ABORT})")
    terminal.ctrl_c()
    assert not terminal.shows(PROMPT, within=2.5)  # two seconds are a clean-up's
    machine.let_through()
    assert "labtether: the query 'MOVE' on psu was cancelled: halted" in terminal.wait_for(PROMPT)
    in_step(terminal, machine)


def test_ctrl_c_ends_a_blocking_query(terminal: TerminalIPython, machine: PtyMachine) -> None:
    asked(machine, terminal, "link.sync.query('MOVE', timeout=60)")
    interrupted(terminal)
    machine.finish()
    in_step(terminal, machine)


def test_ctrl_c_tells_what_became_of_the_work_in_one_line_not_in_a_second_traceback(
    terminal: TerminalIPython, machine: PtyMachine
) -> None:
    asked(machine, terminal, "await link.query('MOVE', timeout=60)")
    assert interrupted(terminal).count("Traceback") == 1
    machine.finish()
    # What comes by itself is shown as ever.
    screen = terminal.run("await asyncio.wait_for(asyncio.shield(asyncio.sleep(1)), 0.01)")
    assert "Traceback" in screen
    screen = terminal.run("task = asyncio.ensure_future(asyncio.sleep(9)); task.cancel(); await task")
    assert "CancelledError" in screen
    assert "Traceback" in screen


def test_ctrl_c_leaves_the_tasks_in_the_background_alone(terminal: TerminalIPython, machine: PtyMachine) -> None:
    terminal.run("background = asyncio.ensure_future(asyncio.sleep(0.5, 'slept')); await asyncio.sleep(0)")
    asked(machine, terminal, "await link.query('MOVE', timeout=60)")
    interrupted(terminal)
    machine.finish()
    assert "'slept'" in terminal.run("await background")


def test_a_clean_up_without_an_end_does_not_keep_the_prompt(terminal: TerminalIPython, machine: PtyMachine) -> None:
    terminal.run("never = asyncio.Event()")
    terminal.define("""
        async def stubborn():
            try:
                await link.query("MOVE", timeout=60)
            finally:
                await never.wait()
                ip.push({"cleaned": 6 * 7})
        """)
    asked(machine, terminal, "await stubborn()")
    terminal.ctrl_c()
    terminal.wait_for(r"the cell did not end within 2 s of Ctrl-C; it goes on with the next cell that awaits")
    terminal.wait_for(PROMPT)
    # It is neither waited for nor cancelled again.
    began = time.monotonic()
    terminal.run("1 + 1")
    assert time.monotonic() - began < LIMIT
    assert "42" in terminal.run("never.set(); await asyncio.sleep(0.1); cleaned")
    machine.finish()
    in_step(terminal, machine)


def test_a_clean_up_that_blocks_is_interrupted_when_it_has_had_its_time(
    terminal: TerminalIPython, machine: PtyMachine
) -> None:
    terminal.define("""
        async def blocking():
            try:
                await link.query("MOVE", timeout=60)
            finally:
                print("clean" + "ing up", flush=True)
                time.sleep(60)
        """)
    asked(machine, terminal, "await blocking()")
    pressed = terminal.ctrl_c()
    terminal.wait_for("cleaning up")
    terminal.ctrl_c()
    terminal.until_asleep()  # that one came too early
    while not terminal.shows(PROMPT, within=0.2):
        terminal.ctrl_c()
    assert 2.0 < time.monotonic() - pressed < 2.0 + LIMIT
    machine.finish()
    in_step(terminal, machine)


@pytest.mark.parametrize("line", ["link.sync.query('ASK 5')", "await link.query('ASK 5')"])
def test_a_cell_that_was_left_pending_all_the_same_is_ended_by_the_next_one(
    terminal: TerminalIPython, machine: PtyMachine, line: str
) -> None:
    # Ctrl-C in the very moment between two hooks of IPython's, where nobody is called any more.
    terminal.define("""
        def escape():
            ip.events.unregister("post_execute", escape)
            ip.showtraceback = mash
            1 / 0

        def mash(*_, **__):
            del ip.showtraceback
            raise KeyboardInterrupt
        """)
    asked(machine, terminal, f"ip.events.register('post_execute', escape); await link.query('MOVE', {ABORT})")
    terminal.ctrl_c()
    assert "escaped interact()" in terminal.wait_for(PROMPT)
    assert machine.halts == 0
    asked(machine, terminal, line)
    assert machine.heard[-1] == b"HALT"
    machine.let_through()
    assert "'re ASK 5'" in terminal.wait_for(PROMPT)
    in_step(terminal, machine)


def test_a_program_that_imports_ipython_and_has_no_shell_is_left_alone() -> None:
    with PtyMachine() as machine:
        code = """
            import asyncio, sys, warnings
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import IPython
            import labtether as lt

            link = lt.serial(sys.argv[1])

            async def main():
                async with link:
                    print(await link.query("ASK 1"))

            asyncio.run(main())
            from labtether import _ipython
            print(len(_ipython._links), IPython.get_ipython())
            """
        finished = run_child(code, machine.port)
        assert finished.stdout == "re ASK 1\n0 None\n"
        assert finished.stderr == ""
