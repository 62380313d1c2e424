"""Instruments in notebooks: set up in one cell, stopped in another, run again, interrupted, and parked when the kernel
goes, by the closing part of the lifespan itself."""

from collections.abc import Callable, Iterator

import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.exchanges import until_sync
from support.kernels import Kernel, fresh_kernel, jupyters_loop, kernel
from support.scales import balance

__all__ = ["fresh_kernel", "jupyters_loop", "kernel"]

SOON = 1.0
"""Seconds that a click on Stop may take here, on a busy machine; the test prints what it took."""

STARTUP = """
import asyncio, logging, sys, threading, time
sys.path.insert(0, {tests!r})
import labtether as lt
from support.scales import Scale, Watchful

class Slow(Scale):
    async def lifespan(self):
        async with self.link:
            await self.link.query("@")
            yield
            await self.link.query("SLOW", timeout=30)
            await self.link.query("P")
"""


def begin(kernel: Kernel) -> None:
    tests = __file__.rpartition("/")[0]
    kernel.fine(STARTUP.format(tests=tests))


@pytest.fixture
def told(kernel: Kernel) -> Iterator[ScriptedInstrument]:
    begin(kernel)
    with balance() as told:
        yield told
        kernel.fine("await lt.stop()")


def test_it_is_set_up_in_one_cell_used_in_others_and_stopped_in_another(
    kernel: Kernel, told: ScriptedInstrument
) -> None:
    shown = kernel.fine(f"scale = Scale({told.port!r})\nawait scale.setup()")
    assert "<Scale open for " in shown.value
    assert "open" in shown.results[-1]["text/html"]
    assert kernel.fine("await scale.weigh()").value == "1.5"
    assert kernel.fine("scale.sync.weigh()").value == "1.5"
    kernel.fine("await scale.stop()")
    assert told.heard == ["@", "S", "S", "P"]
    again = kernel.run("await scale.weigh()")
    assert again.error is not None
    assert again.error[:1] == ("LinkClosed",)
    assert "Scale is closed: it was stopped" in again.error[1]


def test_it_is_stopped_from_a_subshell_while_a_cell_hangs(kernel: Kernel, told: ScriptedInstrument) -> None:
    if kernel.version < 7:
        pytest.skip("ipykernel 6 has no subshells")
    kernel.fine(f"scale = await Scale({told.port!r}).setup()")
    cell = kernel.start("await scale.never()")
    until_sync(lambda: "HANG" in told.heard)
    # Not `fine`: where another cell fails meanwhile, ipykernel sometimes says that of this one, too.
    kernel.subshell().run("await scale.stop()")
    cell.finish()
    assert cell.error is not None
    assert cell.error[:2] == ("LinkClosed", "balance is closed: Scale is being stopped")
    assert told.heard == ["@", "HANG", "HALT", "P"]


def test_it_is_stopped_from_a_thread(kernel: Kernel, told: ScriptedInstrument) -> None:
    kernel.fine(f"scale = await Scale({told.port!r}).setup()")
    kernel.fine("thread = threading.Thread(target=scale.sync.stop); thread.start()")
    kernel.until_in_silence("not thread.is_alive()")
    assert told.heard == ["@", "P"]
    refused = kernel.run("await scale.setup()\nscale.sync.stop()")
    assert refused.error is not None
    assert "stop()" in refused.error[1]


@pytest.mark.parametrize("code", ["await scale.never()", "scale.sync.never()"])
def test_stop_ends_a_cell_that_uses_it_and_leaves_it_usable(
    kernel: Kernel, told: ScriptedInstrument, code: str
) -> None:
    kernel.fine(f"scale = await Scale({told.port!r}).setup()")
    cell = kernel.start(code)
    until_sync(lambda: "HANG" in told.heard)
    seconds = kernel.stop(cell)
    print(f"stop: {seconds:.3f} s")
    assert seconds < SOON
    assert cell.error is not None
    assert cell.error[0] in ("CancelledError", "KeyboardInterrupt")
    assert "halted" in cell.error[2]
    assert kernel.fine("await scale.weigh()").value == "1.5"
    assert told.heard == ["@", "HANG", "HALT", "S"]


def test_stop_ends_a_setup_and_leaves_nothing(kernel: Kernel, told: ScriptedInstrument) -> None:
    told.when("SLOW").silence()
    kernel.fine(f"scale = Scale({told.port!r})")
    cell = kernel.start("await scale.setup(hello='SLOW')")
    until_sync(lambda: told.heard == ["SLOW"])
    assert kernel.stop(cell) < SOON
    assert kernel.fine("scale.state, scale.link.state").value == "('closed', 'closed')"
    kernel.fine("await scale.setup()")
    assert kernel.fine("await scale.weigh()").value == "1.5"


def test_two_clicks_do_not_break_the_clean_up(kernel: Kernel, told: ScriptedInstrument) -> None:
    told.expect("SLOW").reply("at last", after=1.0)
    kernel.fine(f"scale = await Slow({told.port!r}).setup()")
    cell = kernel.start("await scale.stop()")
    until_sync(lambda: "SLOW" in told.heard)
    kernel.interrupt()
    kernel.interrupt()
    cell.finish()
    kernel.until_in_silence("scale.state == 'closed'")
    assert told.heard == ["@", "SLOW", "P"]
    kernel.fine("await scale.setup()")
    told.when("SLOW").reply("now")


def test_two_clicks_in_a_block_park_it_all_the_same(kernel: Kernel, told: ScriptedInstrument) -> None:
    told.expect("SLOW").reply("at last", after=0.5)
    cell = kernel.start(f"async with Slow({told.port!r}) as scale:\n    await scale.never()")
    until_sync(lambda: "HANG" in told.heard)
    kernel.interrupt()
    until_sync(lambda: "SLOW" in told.heard)
    kernel.interrupt()
    cell.finish()
    assert cell.error is not None
    assert cell.error[0] == "CancelledError"
    assert told.heard == ["@", "HANG", "HALT", "SLOW", "P"]


def test_a_cell_that_makes_and_sets_it_up_can_be_run_again(kernel: Kernel, told: ScriptedInstrument) -> None:
    kernel.fine("logging.basicConfig(level=logging.INFO, stream=sys.stdout, force=True)")
    cells = [kernel.fine(f"scale = await Scale({told.port!r}).setup()") for _ in range(3)]
    kernel.fine("logging.basicConfig(level=logging.WARNING, force=True)")
    assert told.heard == ["@", "P", "@", "P", "@"], "each was parked before the next was readied"
    assert [cell.text.count("is stopped for") for cell in cells] == [0, 1, 1]
    assert kernel.fine("await scale.weigh()").value == "1.5"
    kernel.fine("old = scale; asking = asyncio.ensure_future(old.never())")
    until_sync(lambda: "HANG" in told.heard)
    again = kernel.run(f"scale = await Scale({told.port!r}).setup()")
    assert again.error is not None
    assert again.error[0] == "LinkBusy", "one that is busy is not taken away"


def test_the_kernels_loop_is_used_for_days(kernel: Kernel, told: ScriptedInstrument) -> None:
    kernel.fine(f"scale = await Scale({told.port!r}).setup()\nawait scale.stop()")
    kernel.in_silence("import gc; gc.collect()")
    before = kernel.descriptors()
    for _ in range(20):
        kernel.fine(f"scale = await Scale({told.port!r}).setup()\nawait scale.weigh()")
        kernel.fine("await scale.stop()")
    kernel.in_silence("import gc; gc.collect()")
    assert kernel.descriptors() == before


def test_a_lifespan_that_ends_by_itself_is_told_once_after_the_next_cell(
    kernel: Kernel, told: ScriptedInstrument
) -> None:
    kernel.fine("logging.disable(logging.CRITICAL)")
    kernel.fine(f"scale = await Watchful({told.port!r}).setup()")
    told.push("ALARM")
    kernel.until_in_silence("scale.state == 'closed'")
    text = kernel.fine("1 + 1").text
    assert text.count("labtether: Watchful was closed: ") == 1, text
    assert kernel.fine("1 + 1").text == ""
    touched = kernel.run("await scale.weigh()")
    assert touched.error is not None
    assert "the alarm went off" in touched.error[2]
    assert kernel.fine("1 + 1").text == ""
    kernel.fine("logging.disable(logging.NOTSET)")
    assert told.heard == ["P"]


def test_in_trio_cells_a_block_is_parked_and_a_setup_ends_with_its_cell(
    kernel: Kernel, told: ScriptedInstrument
) -> None:
    kernel.fine("%autoawait trio")
    try:
        kernel.fine(f"scale = Scale({told.port!r})\nasync with scale:\n    print(await scale.weigh())")
        kernel.fine("await scale.setup()")
        assert told.heard == ["@", "S", "P", "@", "P"]
        late = kernel.run("await scale.weigh()")
        assert late.error is not None
        assert "its event loop ended" in late.error[1]
        assert kernel.fine("with scale.sync as face: print(face.weigh())").text == "1.5\n"
        cell = kernel.start("async with scale:\n    await scale.never()")
        until_sync(lambda: "HANG" in told.heard)
        assert kernel.stop(cell) < SOON
        assert told.heard[-4:] == ["@", "HANG", "HALT", "P"]
    finally:
        kernel.fine("%autoawait asyncio")


ENDS: dict[str, Callable[[Kernel], object]] = {
    "shutdown": lambda kernel: kernel.shutdown(),
    "restart": lambda kernel: kernel.restart(),
    "unannounced": lambda kernel: kernel.request_shutdown(),
}
SET_UP = {
    "awaited": "scale = await Scale({port!r}).setup()",
    "blocking": "scale = Scale({port!r}).sync.setup()",
    "entered": "await lt.lifecycle.enter(Scale({port!r}))",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("how", SET_UP)
def test_a_kernel_that_ends_runs_the_closing_part_and_frees_the_port(fresh_kernel: Kernel, how: str, end: str) -> None:
    begin(fresh_kernel)
    with balance() as told:
        fresh_kernel.fine(SET_UP[how].format(port=told.port))
        ENDS[end](fresh_kernel)
        until_sync(lambda: told.heard[-1:] == ["P"])
        assert told.heard == ["@", "P"]
        with lt.serial(told.port, framing="\r\n", settle=0.001).sync as link:
            assert link.query("S") == "S S 1.5 g"


@pytest.mark.parametrize("end", ENDS)
def test_a_kernel_that_ends_in_the_middle_of_a_cell_aborts_and_parks(fresh_kernel: Kernel, end: str) -> None:
    begin(fresh_kernel)
    with balance() as told:
        fresh_kernel.fine(f"scale = await Scale({told.port!r}).setup()")
        fresh_kernel.start("await scale.never()")
        until_sync(lambda: "HANG" in told.heard)
        ENDS[end](fresh_kernel)
        until_sync(lambda: told.heard[-1:] == ["P"])
        assert told.heard == ["@", "HANG", "HALT", "P"]


def test_a_kernel_whose_closing_part_hangs_ends_in_time_and_parks_by_rust(fresh_kernel: Kernel) -> None:
    begin(fresh_kernel)
    with balance() as told:
        told.when("SLOW").silence()
        fresh_kernel.fine(f"scale = await Slow({told.port!r}).setup()")
        seconds = fresh_kernel.shutdown()
        print(f"shutdown: {seconds:.2f} s")
        assert seconds < 2.5, "jupyter_client ends it by a signal then"
        assert told.heard == ["@", "SLOW", "RUST"]


def test_a_kernel_that_ends_leaves_the_closing_part_a_second(fresh_kernel: Kernel) -> None:
    begin(fresh_kernel)
    with balance() as told:
        told.expect("SLOW").reply("at last", after=0.6)
        fresh_kernel.fine(f"scale = await Slow({told.port!r}).setup()")
        fresh_kernel.shutdown()
        assert told.heard == ["@", "SLOW", "P"]
