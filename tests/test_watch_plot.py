"""`link.watch()`: readings of a real line, drawn in a real kernel; what is kept, how it ends, and what is refused."""

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

import labtether as lt
from labtether._show.plotting import DOTS, HEIGHT, WIDTH, drawn
from support import run_child
from support.pages import Page
from support.watching import Kernel, Picture, kernel, left_alone

__all__ = ["kernel"]

BALANCE = "scale = await lt.link('sim://balance', name='scale').setup()"


@pytest.fixture(autouse=True)
def nothing_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "kernel" in request.fixturenames:
        left_alone(
            request.getfixturevalue("kernel"),
            """
import threading
[await link.stop() for link in list(lt._crowd.links)]
threads = [thread.name for thread in threading.enumerate()]
assert not {"labtether plot", "labtether readings"} & set(threads), threads
import sys
assert "matplotlib.pyplot" not in sys.modules
""",
        )


def read(picture: Picture) -> Page:
    return Page(picture.last["text/html"])


def image(picture: Picture) -> bytes:
    """The PNG in the page."""
    (source,) = [value for key, value in read(picture).attributes if key == "src"]
    assert source is not None
    assert source.startswith("data:image/png;base64,")
    return base64.b64decode(source.partition(",")[2])


def test_it_plots_and_stops(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    cell = kernel.run("p = scale.watch('SI', every=0.05, unit='g')\np")
    picture = kernel.picture(cell)
    kernel.until(lambda: len(picture.forms) >= 4)
    assert picture.cells == {cell}
    assert "live" in read(picture).text
    first, later = image(picture), len(picture.forms)
    kernel.until(lambda: len(picture.forms) > later)
    assert image(picture) != first
    kernel.run("p.stop()")
    assert "stopped" in read(picture).text
    assert kernel.silent_for(0.4)
    kernel.run("""
assert p.state == "stopped" and p.error is None
assert 4 <= len(p.readings) == p.count
assert all(41 < reading.value < 43 for reading in p.readings), p.readings
times = [reading.monotonic for reading in p.readings]
assert times == sorted(times)
assert repr(p) == f"<Plot scale SI: stopped, {p.count} readings>", repr(p)
assert (await scale.query("I4")).startswith("I4 A")
""")
    (shown,) = re.findall(r"(\d+) readings$", read(picture).text.strip())
    assert f"{shown} readings" in picture.last["text/plain"]
    assert base64.b64decode(picture.last["image/png"]) == image(picture)
    assert kernel.results == []


def test_it_says_that_it_keeps_the_last_ones_only(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    cell = kernel.run("""
p = scale.watch('SI', every=0.01, keep=5)
while p.count < 12:
    await lt.sleep(0.01)
p.stop()
assert len(p.readings) == 5, p.readings
""")
    shown = re.search(r"last 5 of (\d+) readings", read(kernel.picture(cell)).text)
    assert shown is not None
    assert int(shown[1]) >= 12


def test_however_fast_it_reads_it_draws_four_times_a_second(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    cell = kernel.run("""
p = scale.watch('SI', every=0.005)
while p.count < 200:
    await lt.sleep(0.01)
elapsed = p.readings[-1].monotonic - p.readings[0].monotonic
p.stop()
""")
    kernel.run("elapsed")
    seconds = float(kernel.results.pop()["text/plain"])
    # The first, the last, and at most one each quarter of a second.
    assert len(kernel.picture(cell).forms) <= 3 + seconds / 0.25


def test_several_numbers_are_several_lines(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    cell = kernel.run("""
with scale.sync.watch('SI', every=0.01, parse=lambda reply: (lt.number(reply), 2 * lt.number(reply)), unit='g') as p:
    while p.count < 3:
        await lt.sleep(0.01)
""")
    assert re.search(r"4\d\.?\d*, 8\d\.?\d* g", read(kernel.picture(cell)).text)


def test_a_reply_that_is_no_number_ends_it_and_is_shown(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    cell = kernel.run("""
p = scale.watch('@', every=0.05, parse=float)
try:
    await p
except lt.FrameError as error:
    assert p.error is error and p.state == "failed"
else:
    assert False, p
""")
    page = read(kernel.picture(cell))
    assert "failed" in page.text
    assert "problem: FrameError" in page.text
    cell = kernel.run("""
p = scale.watch('SI', every=0.05, parse=str)
try:
    await p
except TypeError:
    pass
""")
    assert "a plot takes a number or several; parse made 'S " in read(kernel.picture(cell)).text


def test_bad_replies_can_be_left_out(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    kernel.run("""
from itertools import count
turn = count()
def odd(reply):
    if next(turn) % 2:
        raise ValueError("even")
    return 1.0
with scale.watch('SI', every=0.01, parse=odd, on_error="skip") as p:
    while p.count < 5:
        await lt.sleep(0.01)
assert p.error is None
""")


def test_a_link_that_is_lost_ends_it_and_is_told(kernel: Kernel) -> None:
    kernel.run("""
import logging
class Told(list):
    level = 0
    def handle(self, record): self.append((record.name, record.getMessage()))
told = Told(); logging.getLogger("labtether.watch").addHandler(told)
from labtether.testing import script
psu = script("psu", framing="\\n").__enter__()
psu.when("MEAS?").reply("<script>1.23</script>")
link = await lt.link(psu.url, framing="\\n", name="psu").setup()
""")
    cell = kernel.run("""
p = link.watch("MEAS?", every=0.01)
while p.count < 3:
    await lt.sleep(0.01)
psu.disconnect()
try:
    await p
except lt.LinkLost as error:
    assert p.error is error
else:
    assert False, p
psu.__exit__(None, None, None)
assert [name for name, _ in told] == ["labtether.watch"], told
assert told[0][1].startswith("the plot of psu MEAS? has ended: LinkLost: "), told
""")
    picture = kernel.picture(cell)
    assert "problem: LinkLost" in read(picture).text
    assert "script" not in read(picture).tags
    assert image(picture)
    # The cell has caught it: so it is told after the cell, once.
    kernel.until(lambda: kernel.printed.endswith("\n"))
    assert kernel.printed.startswith("labtether: psu (")
    assert kernel.printed.count("was lost") == 1
    kernel.printed = ""


def test_a_link_that_is_stopped_ends_it(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    cell = kernel.run("""
p = scale.watch('SI', every=0.05)
await lt.sleep(0.1)
await scale.stop()
try:
    await p
except lt.LinkClosed:
    pass
else:
    assert False, p
""")
    assert "LinkClosed" in read(kernel.picture(cell)).text


def test_awaited_it_ends_with_its_cell(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    cell = kernel.start("p = scale.watch('SI', every=0.05)\nawait p")
    kernel.until(lambda: any(one.cell == cell and len(one.forms) > 2 for one in kernel.pictures.values()))
    kernel.interrupt()
    kernel.wait(cell)
    assert [name for name, _ in kernel.errors] == ["CancelledError"]
    assert "stopped: interrupted" in read(kernel.picture(cell)).text
    kernel.errors.clear()
    kernel.run("assert p.state == 'stopped'; await scale.query('SI')")


def test_a_cell_that_is_run_again_has_one_plot(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    first = kernel.run("p = scale.watch('SI', every=0.05); q = scale.watch('S', every=0.05)")
    pictures = [one for one in kernel.pictures.values() if one.cell == first]
    second = kernel.run("p = scale.watch('SI', every=0.05)")
    kernel.until(lambda: "another one took over" in read(pictures[0]).text)
    kernel.until(lambda: len(kernel.picture(second).forms) >= 3)
    assert "live" in read(pictures[1]).text


@pytest.mark.leaves_open("matplotlib keeps its fonts open")
def test_it_is_drawn_without_formulas_on_a_ground_that_is_not_there() -> None:
    # As a formula this would be an error.
    png = drawn(([0.0, 1.0, 2.0], [[1.0, float("nan"), 3.0], [2.0, 2.0, 2.0]]), "$\\frac[$")
    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == (int(WIDTH * DOTS), int(HEIGHT * DOTS))
    # The first pixel of the first row is as it is, whichever of PNG's filters it went through.
    filtered, *first = zlib.decompress(b"".join(data for kind, data in chunks(png) if kind == b"IDAT"))[:5]
    assert filtered in range(5)
    assert first[3] == 0


@pytest.mark.leaves_open("matplotlib keeps its fonts open")
def test_marks_of_overrange_are_left_out_of_the_picture() -> None:
    png = drawn(([0.0, 1.0, 2.0], [(1.0, 9.9e37, 2.0), (1e308, -1e308, 1e308)]), "V")
    assert next(kind for kind, _ in chunks(png)) == b"IHDR"


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parts of a PNG."""
    at = 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += size + 12


def test_outside_notebooks_it_says_what_to_do_instead() -> None:
    with lt.link("sim://balance").sync as scale:
        with pytest.raises(RuntimeError, match=r"instead: async for reading in link\.poll"):
            scale.watch("S")


def test_without_matplotlib_it_says_what_to_install() -> None:
    seen = run_child("""
        import sys
        import labtether as lt

        sys.modules["matplotlib"] = None
        try:
            lt.link("sim://balance").watch("S")
        except ImportError as error:
            print(error)
    """)
    assert seen.stdout.strip() == 'link.watch() draws with matplotlib: pip install "labtether[plot]"'


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"every": 0}, ValueError, "every is more than 0"),
        ({"every": -1}, ValueError, "every is not negative"),
        ({"every": "1"}, TypeError, "every is a number"),
        ({"keep": 0}, ValueError, "keep is at least 1"),
        ({"keep": 1.5}, TypeError, "keep is an int"),
        ({"unit": 3}, TypeError, "unit is a str"),
        ({"title": ""}, ValueError, "title is empty"),
        ({"parse": 3}, TypeError, "parse is a function"),
        ({"on_error": "hide"}, ValueError, "on_error is"),
    ],
)
def test_bad_input_is_refused_at_the_call(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        lt.link("sim://balance").watch("S", **given)


def test_a_closed_link_is_not_watched(kernel: Kernel) -> None:
    kernel.run("""
scale = lt.link("sim://balance", name="scale")
try:
    scale.watch("S")
except lt.LinkClosed as error:
    assert "scale is closed: set it up before it is watched" in str(error), error
else:
    assert False
""")


def test_parse_may_stop_it(kernel: Kernel) -> None:
    kernel.run(BALANCE)
    kernel.run("""
import time
def parse(text):
    if p.count >= 2:
        p.stop()
    return lt.number(text)
p = scale.watch('SI', every=0.05, parse=parse)
""")
    kernel.run("""
began = time.monotonic()
while p.state == "live" or p._thread.is_alive():
    assert time.monotonic() - began < 30
    time.sleep(0.01)
assert (p.state, p.error) == ("stopped", None), (p.state, p.error)
""")
