"""What fails in the background of a notebook is told once, after the next cell, whatever that does."""

import re
from collections.abc import Iterator

import pytest

from labtether.testing import ScriptedInstrument
from support.kernels import Kernel, jupyters_loop, kernel, psu, scripted, setting_up

__all__ = ["jupyters_loop", "kernel", "psu"]

LOST = re.compile(r"^labtether: psu \((\S+)\) was lost \d+\.\d s ago: the device hung up.*\n", re.MULTILINE)


def lose(kernel: Kernel, psu: ScriptedInstrument) -> None:
    """Pull the cable between two cells; the link has noticed. What is asked here is no cell: nothing is told."""
    psu.disconnect()
    kernel.until_in_silence("link.state == 'lost'")


def test_a_link_lost_between_two_cells_is_told_after_the_next_one_and_not_again(
    kernel: Kernel, psu: ScriptedInstrument
) -> None:
    kernel.fine(setting_up(psu.port))
    lose(kernel, psu)
    cell = kernel.fine("1 + 1")
    assert cell.value == "2"
    found = LOST.search(cell.text)
    assert found is not None, cell.told()
    assert found[1] == psu.port
    assert cell.text == found[0]
    assert kernel.fine("1 + 1").text == ""
    # And on being touched, as ever.
    touched = kernel.run('await link.query("ASK 1")')
    assert touched.error is not None
    assert touched.error[0] == "LinkLost"
    assert touched.text == ""


def test_a_cell_that_fails_with_the_loss_tells_it_already(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    lose(kernel, psu)
    for code in ('await link.query("ASK 1")', "1 + 1"):
        cell = kernel.run(code)
        assert "was lost" not in cell.text


def test_a_loss_that_ended_a_nursery_was_told_by_it(kernel: Kernel, psu: ScriptedInstrument) -> None:
    psu.when("CUT").disconnect()
    kernel.fine(setting_up(psu.port))
    cell = kernel.run("""
async with lt.open_nursery() as nursery:
    nursery.start_soon(link.query, "CUT")
""")
    assert cell.error is not None
    assert cell.error[0] == "ExceptionGroup"
    assert "LinkLost" in cell.text
    assert "was lost" not in cell.text
    assert kernel.fine("1 + 1").text == ""


def test_a_cell_that_fails_for_another_reason_tells_of_the_loss(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    lose(kernel, psu)
    cell = kernel.run("1 / 0")
    assert cell.error is not None
    assert LOST.search(cell.text)


def test_a_link_that_is_set_up_again_and_lost_again_is_told_again(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    for _ in range(2):
        lose(kernel, psu)
        assert LOST.search(kernel.fine("1 + 1").text)
        psu.reconnect()
        kernel.fine("await link.stop(); await link.setup()")
        assert kernel.fine('await link.query("ASK 1")').text == ""


def test_what_was_stopped_or_forgotten_is_not_told_of(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    lose(kernel, psu)
    assert "was lost" not in kernel.fine("await link.stop()").text
    psu.reconnect()
    kernel.fine("await link.setup(); await link.stop()")
    psu.disconnect()
    assert kernel.fine("1 + 1").text == ""


@pytest.fixture
def others() -> Iterator[list[ScriptedInstrument]]:
    """Two more instruments."""
    with scripted() as left, scripted() as right:
        yield [left, right]


def test_each_of_several_is_told_and_faces_of_one_link_are_told_once(
    kernel: Kernel, psu: ScriptedInstrument, others: list[ScriptedInstrument]
) -> None:
    kernel.fine(setting_up(psu.port))
    kernel.fine("face = await link.at('2').setup(); other_face = await link.at('3').setup()")
    ports = [other.port for other in others]
    kernel.fine(f"others = [await lt.serial(port, name='other').setup() for port in {ports}]")
    for one in (psu, *others):
        one.disconnect()
    kernel.until_in_silence("all(one.state == 'lost' for one in (link, *others))")
    text = kernel.fine("1 + 1").text
    assert text.count("was lost") == 3, text
    assert "labtether: psu (" in text
    for one in (psu, *others):
        assert text.count(one.port) == 1
    assert kernel.fine("1 + 1").text == ""
    kernel.fine("await face.stop(); await other_face.stop()\nfor other in others: await other.stop()")


def test_what_others_tell_later_is_told_once_and_not_if_it_was_raised(kernel: Kernel) -> None:
    kernel.fine("""
from labtether._ipython import tell_later, told
class Scale: pass
scale, balance, gone = Scale(), Scale(), Scale()
""")
    kernel.fine("hush = threading.Thread(target=tell_later, args=(scale, 'scale could not be parked: jammed'))")
    assert kernel.fine("hush.start(); hush.join()").text == "labtether: scale could not be parked: jammed\n"
    assert kernel.fine("1 + 1").text == ""
    assert kernel.fine("tell_later(balance, 'jammed'); told(balance)").text == ""
    assert kernel.fine("tell_later(gone, 'jammed'); del gone").text == ""
    kernel.fine("del balance")
    # In a cell that is not the user's nothing is told, and nothing is lost.
    kernel.in_silence("tell_later(scale, 'jammed again')")
    assert kernel.fine("1 + 1").text == "labtether: jammed again\n"


def test_a_loss_that_somebody_else_tells_of_is_not_told_twice(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    lose(kernel, psu)
    kernel.in_silence(
        "from labtether._ipython import tell_later, told\ntold(link); tell_later(link, 'the scale is gone')"
    )
    assert kernel.fine("1 + 1").text == "labtether: the scale is gone\n"


def test_the_report_is_part_of_the_cell_after_which_it_comes(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    before = kernel.fine("print('mine')")
    lose(kernel, psu)
    after = kernel.fine("print('mine too')")
    assert before.text == "mine\n"
    assert after.text.startswith("mine too\nlabtether: psu")


def test_a_cell_that_is_stopped_tells_it_too(kernel: Kernel, psu: ScriptedInstrument) -> None:
    kernel.fine(setting_up(psu.port))
    cell = kernel.start("print('begun')\nawait lt.sleep(60)").until("begun")
    psu.disconnect()
    kernel.stop(cell)
    cell.until("was lost")
    assert kernel.fine("1 + 1").text == ""
