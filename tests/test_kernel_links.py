"""Links in notebooks: one object in many cells, in subshells and threads, cells that are run again, a loop that goes on
for days."""

import pytest

from labtether.testing import ScriptedInstrument
from support.exchanges import until_sync
from support.kernels import Kernel, jupyters_loop, kernel, psu, setting_up

__all__ = ["jupyters_loop", "kernel", "psu"]


@pytest.fixture
def subshells(kernel: Kernel) -> None:
    if kernel.version < 7:
        pytest.skip("ipykernel 6 has no subshells")


def test_a_link_is_set_up_in_one_cell_used_in_others_and_stopped_in_another(
    kernel: Kernel, psu: ScriptedInstrument
) -> None:
    kernel.fine(setting_up(psu.port))
    for number in range(3):
        assert kernel.fine(f'await link.query("ASK {number}")').value == f"'re {number}'"
        assert kernel.fine(f'link.sync.query("ASK {number}")').value == f"'re {number}'"
    kernel.fine("await link.stop()")
    assert kernel.fine("link.state").value == "'closed'"
    again = kernel.run('await link.query("ASK 4")')
    assert again.error is not None
    assert again.error[0] == "LinkClosed"
    kernel.fine("await link.setup()")
    assert kernel.fine('await link.query("ASK 5")').value == "'re 5'"


KEPT = ["", "old = link", "link"]
"""Who else may hold the link that a cell made before: nobody, a name, IPython's list of values."""


@pytest.mark.parametrize("kept", KEPT, ids=["kept by nobody", "kept by a name", "kept by Out"])
def test_a_cell_that_makes_and_sets_up_a_link_can_be_run_again(
    kernel: Kernel, psu: ScriptedInstrument, kept: str
) -> None:
    for number in range(4):
        kernel.fine(setting_up(psu.port))
        kernel.fine(kept)
        assert kernel.fine(f'await link.query("ASK {number}")').value == f"'re {number}'"
    if kept == "old = link":
        kernel.fine(setting_up(psu.port))
        assert kernel.fine("old.state, link.state").value == "('closed', 'open')"


def test_a_cell_run_again_does_not_take_the_port_from_a_link_that_is_busy(
    kernel: Kernel, psu: ScriptedInstrument
) -> None:
    kernel.fine(setting_up(psu.port))
    kernel.fine("asking = asyncio.ensure_future(link.query('S', timeout=60))")
    until_sync(lambda: psu.heard == ["S"])
    again = kernel.run(setting_up(psu.port))
    assert again.error is not None
    assert again.error[0] == "LinkBusy"
    psu.push("late")
    assert kernel.fine("await asking").value == "'late'"
    kernel.fine("del asking")
    kernel.fine(setting_up(psu.port))
    assert kernel.fine('await link.query("ASK 1")').value == "'re 1'"


@pytest.mark.usefixtures("subshells")
def test_stop_from_a_subshell_ends_the_cell_that_hangs(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    subshell = kernel.subshell()
    for _ in range(2):
        cell = kernel.start('await link.query("S", timeout=60)')
        until_sync(lambda: psu.heard[-1:] == ["S"])
        assert subshell.fine("link.state").value == "'open'"
        # Not `fine`: where another cell fails meanwhile, ipykernel sometimes says that of this one, too.
        subshell.run("await link.stop()")
        cell.finish()
        assert subshell.fine("link.state").value == "'closed'"
        assert cell.error is not None
        assert cell.error[0] == "LinkClosed"
        subshell.fine("await link.setup()")
        assert subshell.fine('await link.query("ASK 1")').value == "'re 1'"
    assert kernel.fine('await link.query("ASK 2")').value == "'re 2'"


@pytest.mark.usefixtures("subshells")
def test_a_subshell_asks_while_the_main_cell_is_busy(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    kernel.fine("go_on = threading.Event()")
    subshell = kernel.subshell()
    cell = kernel.start("print('blocked', flush=True)\ngo_on.wait()\nawait link.query('ASK 3')").until("blocked")
    assert subshell.fine('await link.query("ASK 1")').value == "'re 1'"
    assert subshell.fine('link.sync.query("ASK 2")').value == "'re 2'"
    subshell.fine("go_on.set()")
    assert cell.fine().value == "'re 3'"


def test_a_thread_asks_and_stops_while_a_cell_waits(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    cell = kernel.start("""
got = []

def work():
    got.append(link.sync.query("ASK 1"))
    ready.set()
    go_on.wait()
    link.sync.stop()

ready, go_on = threading.Event(), threading.Event()
thread = threading.Thread(target=work)
thread.start()
ready.wait()
got.append(await link.query("ASK 2"))
go_on.set()
try:
    await link.query("S", timeout=60)
except lt.LinkClosed as error:
    got.append(type(error).__name__)
thread.join()
got
""")
    assert cell.fine().value == "['re 1', 're 2', 'LinkClosed']"


def test_fifty_cells_that_set_up_and_stop_leave_no_descriptor(kernel: Kernel, psu: ScriptedInstrument) -> None:
    def use() -> None:
        kernel.fine(setting_up(psu.port))
        kernel.fine('assert await link.query("ASK 1") == "re 1"\nawait link.stop()')

    loop = kernel.fine("id(asyncio.get_running_loop()); await asyncio.sleep(0); id(asyncio.get_running_loop())").value
    for _ in range(3):
        use()
    before = len(kernel.descriptors())
    threads = kernel.fine("threading.active_count()").value
    for _ in range(50):
        use()
    # The kernel's own come and go by one or two.
    assert len(kernel.descriptors()) < before + 5
    assert kernel.fine("threading.active_count()").value == threads
    assert kernel.fine("await asyncio.sleep(0); id(asyncio.get_running_loop())").value == loop
