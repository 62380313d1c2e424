"""Kernels that are restarted, shut down or killed while a cell hangs: the instrument is parked, the port free."""

from collections.abc import Callable

import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.exchanges import until_sync
from support.kernels import Kernel, fresh_kernel, jupyters_loop, scripted, setting_up

__all__ = ["fresh_kernel", "jupyters_loop"]

SIGTERM_COMES = 2.5
"""Seconds after which jupyter_client ends a kernel by a signal (half of its `shutdown_wait_time`): no code of ours runs
then."""

CELLS = {
    "awaiting": 'await link.query("S", timeout=60)',
    "blocking": 'link.sync.query("S", timeout=60)',
    "trio": '%autoawait trio\nawait link.query("S", timeout=60)',
    "idle": 'await link.query("S", timeout=0.01)',
    "task": 'import asyncio; task = asyncio.ensure_future(link.query("S", timeout=60)); await asyncio.sleep(0)',
}


def have_the_port(psu: ScriptedInstrument) -> None:
    """Have the port in this process, at once, and talk."""
    with lt.serial(psu.port, settle=0.001).sync as link:
        assert link.query("ASK 1") == "re 1"


def hanging(kernel: Kernel, psu: ScriptedInstrument, code: str) -> None:
    """The instrument is set up, with last words, and asked what it does not answer."""
    psu.when("P").silence()
    psu.when("HALT").silence()
    kernel.fine(setting_up(psu.port, park="P"))
    kernel.start(code)
    until_sync(lambda: psu.heard == ["S"])


@pytest.mark.parametrize("cell", CELLS)
def test_a_shutdown_parks_the_instrument_and_frees_its_port(fresh_kernel: Kernel, cell: str) -> None:
    with scripted() as psu:
        hanging(fresh_kernel, psu, CELLS[cell])
        seconds = fresh_kernel.shutdown()
        print(f"shutdown: {seconds:.2f} s")
        assert seconds < SIGTERM_COMES
        assert not fresh_kernel.alive
        until_sync(lambda: psu.heard == ["S", "P"])
        have_the_port(psu)


@pytest.mark.parametrize("cell", ["awaiting", "blocking"])
def test_a_restarted_kernel_has_the_instrument_at_once(fresh_kernel: Kernel, cell: str) -> None:
    with scripted() as psu:
        hanging(fresh_kernel, psu, CELLS[cell])
        first = fresh_kernel.pid
        fresh_kernel.restart()
        assert fresh_kernel.pid != first
        fresh_kernel.fine("import labtether as lt")
        fresh_kernel.fine(setting_up(psu.port))
        assert fresh_kernel.fine('await link.query("ASK 1")').value == "'re 1'"
        assert psu.heard == ["S", "P", "ASK 1"]


def test_a_shutdown_that_nobody_announced_by_an_interrupt(fresh_kernel: Kernel) -> None:
    with scripted() as psu:
        hanging(fresh_kernel, psu, CELLS["awaiting"])
        fresh_kernel.request_shutdown()
        until_sync(lambda: psu.heard == ["S", "P"])
        have_the_port(psu)


def restart(kernel: Kernel) -> None:
    kernel.restart()


def shutdown(kernel: Kernel) -> None:
    kernel.shutdown()


# The kernel may leave its loop before the interrupt that comes first has reached the cell: then Rust aborts what is
# under way, before it parks.
@pytest.mark.parametrize("end", [restart, shutdown])
def test_what_moves_is_aborted_before_it_is_parked(fresh_kernel: Kernel, end: Callable[[Kernel], None]) -> None:
    with scripted() as psu:
        hanging(fresh_kernel, psu, 'await link.query("S", timeout=60, abort="HALT")')
        end(fresh_kernel)
        until_sync(lambda: psu.heard[-1:] == ["P"])
        assert psu.heard == ["S", "HALT", "P"]
        have_the_port(psu)


def test_a_kernel_that_is_killed_leaves_its_port_free(fresh_kernel: Kernel) -> None:
    with scripted() as psu:
        hanging(fresh_kernel, psu, CELLS["awaiting"])
        fresh_kernel.shutdown(now=True)
        assert psu.heard == ["S"]
        have_the_port(psu)
