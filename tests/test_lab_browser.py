"""JupyterLab's own Stop button, clicked in a browser: the cell ends, the instrument is aborted, the next cell works."""

import pytest

from support.exchanges import until_sync
from support.kernels import scripted

pytest.importorskip("playwright")
pytest.importorskip("jupyterlab")

from support.lab import lab

LIMIT = 1.0
"""Seconds from the click until the kernel is idle."""

CELLS = [
    """
import labtether as lt
link = await lt.serial({port!r}, name="arm", drain=0.02, settle=0.001).setup()
""",
    """
async with link.exchange(timeout=600, abort=lt.Abort("HALT", reply="halted")) as talk:
    await talk.send("MOVE")
    await talk.receive()
""",
    """
talk.effect, await link.query("ASK 1")
""",
    """
async with lt.open_nursery("run 7") as nursery:
    nursery.start_soon(lt.sleep, 600, name="shake")
    link.sync.query("ASK 2")
    await lt.sleep(0.01)
    display(lt.lifecycle.tree())
    nursery.cancel()
""",
    """
await link.stop()
link.state
""",
]


@pytest.mark.slow
def test_the_stop_button_of_jupyterlab_stops_the_instrument_and_the_next_cell_works() -> None:
    with scripted("arm") as arm, lab([cell.strip().format(port=arm.port) for cell in CELLS]) as bench:
        arm.when("MOVE").silence()
        arm.when("HALT").reply("halted")
        bench.run(0)
        bench.start(1)
        until_sync(lambda: arm.heard == ["MOVE"])
        clicked, idle = bench.stop()
        bench.screenshot("stopped", 1)
        assert arm.heard == ["MOVE", "HALT"]
        halted = next(event.time for event in arm.wire if b"HALT" in event.data)
        print(f"click to abort: {(halted - clicked) * 1000:.0f} ms, to idle: {(idle - clicked) * 1000:.0f} ms")
        assert idle - clicked < LIMIT
        assert "CancelledError" in bench.output(1)
        assert "labtether: the exchange on arm was cut short: halted" in bench.output(1)
        assert "('halted', 're 1')" in bench.run(2)
        tree = bench.run(3)
        assert "nursery run 7" in tree
        assert "task shake" in tree
        for theme in ("Light", "Dark"):
            bench.use_theme(f"JupyterLab {theme}")
            bench.screenshot(f"tree_{theme.lower()}", 3)
        assert "'closed'" in bench.run(4)
