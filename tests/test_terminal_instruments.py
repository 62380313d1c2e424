"""Instruments in terminal IPython, whose loop stands still between the prompts: what is set up stays usable, is stopped
at any prompt, and is parked when the terminal is left."""

from pathlib import Path

from labtether.testing import ScriptedInstrument
from support.exchanges import until_sync
from support.scales import balance
from support.terminals import TerminalIPython

TESTS = str(Path(__file__).parent)
PROMPT = r"In \[\d+\]: $"


def begin(terminal: TerminalIPython, told: ScriptedInstrument) -> None:
    terminal.run(f"import sys; sys.path.insert(0, {TESTS!r}); import labtether as lt; from support.scales import Scale")
    assert "Scale open" in terminal.run(f"scale = await Scale({told.port!r}).setup(); print(scale)")


def test_it_is_used_and_stopped_at_other_prompts() -> None:
    with TerminalIPython("--simple-prompt") as terminal, balance() as told:
        begin(terminal, told)
        assert "1.5" in terminal.run("await scale.weigh()")
        assert "1.5" in terminal.run("scale.sync.weigh()")
        terminal.run("scale.sync.stop()")
        assert "closed" in terminal.run("scale.state")
        terminal.run("await scale.setup()")
        terminal.run("lt.lifecycle.sync.stop()")
        assert "closed" in terminal.run("scale.state")
        assert told.heard == ["@", "S", "S", "P", "@", "P"]
        assert terminal.finish() == 0


def test_ctrl_c_leaves_it_usable() -> None:
    with TerminalIPython("--simple-prompt") as terminal, balance() as told:
        begin(terminal, told)
        terminal.type("await scale.never()")
        until_sync(lambda: "HANG" in told.heard)
        terminal.until_asleep()
        terminal.ctrl_c()
        assert "halted" in terminal.wait_for(PROMPT)
        assert "1.5" in terminal.run("await scale.weigh()")
        assert told.heard == ["@", "HANG", "HALT", "S"]
        assert terminal.finish() == 0
        until_sync(lambda: told.heard[-1] == "P")


def test_it_is_parked_when_the_terminal_is_left() -> None:
    with TerminalIPython("--simple-prompt") as terminal, balance() as told:
        begin(terminal, told)
        assert terminal.finish() == 0
        until_sync(lambda: told.heard == ["@", "P"])
