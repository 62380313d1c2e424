"""`lt.watch()` in a real kernel: one picture, drawn anew in place under its own cell, until it is stopped, and then a
last one that says so."""

import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import labtether as lt
from labtether._crowd import present
from labtether._show.rates import Rates
from labtether._show.watching import WATCH
from labtether.testing import script
from support import run_child
from support.nurseries import in_time
from support.pages import Page
from support.watching import Kernel, Picture, kernel, left_alone

__all__ = ["kernel"]


@pytest.fixture(autouse=True)
def nothing_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "kernel" in request.fixturenames:
        left_alone(request.getfixturevalue("kernel"), "")


def looked(picture: Picture) -> dict[str, Any]:
    """What the last picture shows, as a dict."""
    forms: dict[str, Any] = picture.last[WATCH]
    return forms


def test_it_is_drawn_anew_under_its_own_cell_and_stops(kernel: Kernel) -> None:
    cell = kernel.run("w = lt.watch(every=0.05)\nw")
    picture = kernel.picture(cell)
    kernel.until(lambda: len(picture.forms) >= 4)
    kernel.run("1 + 1")
    seen = len(picture.forms)
    kernel.until(lambda: len(picture.forms) >= seen + 3)
    assert picture.cells == {cell}
    assert looked(picture)["state"] == "live"
    kernel.run("w.stop()")
    assert looked(picture)["state"] == "stopped"
    read = Page(picture.last["text/html"])
    assert "stopped" in read.text
    assert "<Watch stopped, every 0.05 s>" in picture.last["text/plain"]
    assert kernel.silent_for(0.3)
    assert [result["text/plain"] for result in kernel.results] == ["2"], "shown twice in its own cell"
    kernel.run("w.stop(); repr(w)")
    assert kernel.silent_for(0.1)


def test_in_a_later_cell_it_is_shown_as_it_is(kernel: Kernel) -> None:
    first = kernel.run("w = lt.watch(every=0.05)")
    later = kernel.run("w")
    assert kernel.picture(later).last[WATCH]["state"] == "live"
    kernel.until(lambda: len(kernel.picture(first).forms) >= 3)
    assert len(kernel.picture(later).forms) == 1


def test_it_shows_links_with_their_rates_and_what_tasks_do(kernel: Kernel) -> None:
    kernel.run("scale = await lt.link('sim://balance', name='scale').setup(); oven = lt.link('sim://balance')")
    cell = kernel.run("""
w = lt.watch(every=0.2)
async with lt.open_nursery('run 7') as nursery:
    async def weigh():
        with lt.situation('weighing plate 3'):
            async with scale.poll('SI', every=0.01) as readings:
                async for reading in readings:
                    if reading.time > began + 1.0:
                        break
    import time; began = time.time()
    nursery.start_soon(weigh)
""")
    picture = kernel.picture(cell)
    w = kernel.run("w.stop(); await scale.stop()")
    assert w
    rates = [link["exchanges_per_second"] for forms in picture.forms for link in forms[WATCH]["links"]]
    assert rates[0] is None
    assert any(rate is not None and 30 < rate < 130 for rate in rates), rates
    assert {link["name"] for forms in picture.forms for link in forms[WATCH]["links"]} == {"scale"}
    alive = "\n".join(Page(forms["text/html"]).text for forms in picture.forms)
    for what in ("run 7", "weigh", "“weighing plate 3”", "scale", "open"):
        assert what in alive, what
    folds = [forms for forms in picture.forms if "<details" in forms["text/html"]]
    assert folds == [], "what is folded away would unfold with every picture"


def test_it_lives_while_a_cell_blocks_the_loop(kernel: Kernel) -> None:
    cell = kernel.run("w = lt.watch(every=0.05)")
    picture = kernel.picture(cell)
    blocked = kernel.start("import time\ngive_up = time.time() + 0.5\nwhile time.time() < give_up: time.sleep(0.01)")
    seen = len(picture.forms)
    kernel.until(lambda: len(picture.forms) >= seen + 4)
    assert blocked not in kernel._idle, "the cell had ended before anything was drawn"
    kernel.wait(blocked)


def test_it_stops_with_its_block(kernel: Kernel) -> None:
    cell = kernel.run("with lt.watch(every=0.05) as w:\n    await lt.sleep(0.2)\nprint(w.state) if w.error else None")
    picture = kernel.picture(cell)
    assert len(picture.forms) >= 3
    assert looked(picture)["state"] == "stopped"
    assert kernel.silent_for(0.2)


def test_another_one_takes_its_place(kernel: Kernel) -> None:
    first = kernel.run("w = lt.watch(every=0.05)")
    second = kernel.run("w = lt.watch(every=0.05)")
    kernel.until(lambda: looked(kernel.picture(first))["state"] == "stopped")
    assert looked(kernel.picture(first))["why"] == "another one took over"
    seen = len(kernel.picture(first).forms)
    kernel.until(lambda: len(kernel.picture(second).forms) >= 5)
    assert len(kernel.picture(first).forms) == seen
    kernel.run("""
import threading
threads = [thread.name for thread in threading.enumerate()]
assert threads.count("labtether watch") == 1, threads
""")


def test_awaited_it_goes_on_until_its_cell_is_interrupted(kernel: Kernel) -> None:
    cell = kernel.start("await lt.watch(every=0.05)")
    kernel.until(lambda: any(picture.cell == cell for picture in kernel.pictures.values()))
    picture = kernel.picture(cell)
    kernel.until(lambda: len(picture.forms) >= 3)
    kernel.interrupt()
    kernel.wait(cell)
    assert [name for name, _ in kernel.errors] == ["CancelledError"]
    assert looked(picture)["state"] == "stopped"
    assert looked(picture)["why"] == "interrupted"
    assert "interrupted" in Page(picture.last["text/html"]).text


def test_awaited_it_ends_when_it_is_stopped(kernel: Kernel) -> None:
    cell = kernel.run("""
import threading
w = lt.watch(every=0.05)
threading.Timer(0.2, w.stop).start()
assert await w is None
""")
    assert looked(kernel.picture(cell))["why"] == "stopped"


def test_what_cannot_be_drawn_ends_it_and_is_told_once(kernel: Kernel) -> None:
    kernel.run("""
import logging
class Told(list):
    level = 0
    def handle(self, record): self.append((record.name, record.levelname, record.getMessage()))
told = Told(); logging.getLogger("labtether").addHandler(told)
class Mean:
    name = "oven"
    shy = True
    async def __aenter__(self): return self
    async def __aexit__(self, *_): pass
    def __repr__(self):
        if self.shy: return "<Mean>"
        raise RuntimeError("not <b>today</b>")
mean = Mean()
""")
    cell = kernel.run("""
async with lt.open_nursery() as nursery:
    await nursery.enter(mean)
    w = lt.watch(every=0.05)
    await lt.sleep(0.2)
    mean.shy = False
    try:
        await w
    except RuntimeError as error:
        assert error is w.error and w.state == "failed"
    else:
        assert False
    mean.shy = True
assert told == [("labtether.watch", "ERROR", "the watch of the lifecycle could not be drawn, and has ended: "
                 "RuntimeError: not <b>today</b>")], told
logging.getLogger("labtether").removeHandler(told)
""")
    read = Page(kernel.picture(cell).last["text/html"])
    assert "failed" in read.text
    assert "not <b>today</b>" in read.text
    kernel.run("w.stop(); import threading; assert 'labtether watch' not in [t.name for t in threading.enumerate()]")


def test_the_end_of_the_kernel_is_its_end_too() -> None:
    with Kernel() as kernel:
        cell = kernel.run("w = lt.watch(every=0.05)")
        kernel.until(lambda: len(kernel.picture(cell).forms) >= 3)
        kernel.shut_down()
        assert "Traceback" not in kernel.printed
        assert looked(kernel.picture(cell))["why"] == "the process ended"


async def test_rates_are_what_goes_over_the_wire() -> None:
    with script("psu", framing="\n") as psu:
        psu.when("MEAS?").reply("1.23")
        async with in_time(), lt.link(psu.url, framing="\n", name="psu") as link:
            rates = Rates()
            await link.query("MEAS?")
            (first,) = rates.look([link], 100.0)
            assert (first.exchanges, first.exchanges_per_second, first.bytes_in_per_second) == (1, None, None)
            for _ in range(10):
                await link.query("MEAS?")
            (second,) = rates.look([link], 102.0)
            assert (second.state, second.exchanges, second.exchanges_per_second) == ("open", 11, 5.0)
            assert (second.bytes_out_per_second, second.bytes_in_per_second) == (30.0, 25.0)
            (third,) = rates.look([link], 103.0)
            assert third.exchanges_per_second == 0.0
            assert third.idle is not None
        assert rates.look([link], 104.0) == []


async def test_devices_on_one_line_are_counted_once() -> None:
    with script("bus", framing="\n") as bus:
        bus.when("2S").reply("ready")
        line = lt.link(bus.url, framing="\n", name="bus")
        devices = [line.at("2"), line.at("3"), lt.link("sim://balance", name="alone")]
        async with in_time(), devices[0], devices[1], devices[2]:
            await devices[0].query("S")
            looks = Rates().look([line, *devices], 100.0)
            assert [(look.name, look.exchanges) for look in looks] == [("alone", 0), ("bus/2, bus/3", 1)]


def test_outside_notebooks_it_says_what_to_do_instead() -> None:
    with pytest.raises(RuntimeError, match=r"no IPython runs here; instead: print\(lt\.lifecycle\.tree\(\)\)"):
        lt.watch()


def test_a_terminal_is_no_notebook() -> None:
    seen = run_child("""
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.utils.capture import capture_output

        import labtether as lt

        shell = InteractiveShell.instance()
        try:
            lt.watch()
        except RuntimeError as error:
            print(error)
        with capture_output() as captured:
            watch = lt.watch(0.05)
            watch.stop()
        print([sorted(output.data) for output in captured.outputs][-1], repr(watch))
    """)
    told, captured = seen.stdout.splitlines()
    assert "a terminal cannot change a picture; instead: print(lt.lifecycle.tree())" in told
    assert captured == f"['{WATCH}', 'text/html', 'text/plain'] <Watch stopped, every 0.05 s>"


@pytest.mark.parametrize("every", [0, -1, 0.01, float("nan"), float("inf")])
def test_a_pace_that_nobody_can_see_is_refused(every: float) -> None:
    with pytest.raises(ValueError, match="every is"):
        lt.watch(every)


@pytest.mark.parametrize("every", ["1", None, True])
def test_a_pace_is_a_number(every: Any) -> None:
    with pytest.raises(TypeError, match="every is a number of seconds"):
        lt.watch(every)


class Somebody:
    """Can be known by weak reference."""


def test_who_comes_while_all_are_looked_at_does_not_spoil_the_look() -> None:
    late = Somebody()

    class Busy(weakref.WeakSet[Somebody]):
        """Somebody comes in the middle of every first look, as another thread would have it."""

        def __iter__(self) -> Iterator[Somebody]:
            for one in super().__iter__():
                self.add(late)
                yield one

    people = [Somebody(), Somebody()]
    crowd = Busy(people)
    with pytest.raises(RuntimeError, match="changed size"):
        list(Busy(people))
    assert set(present(crowd)) == {*people, late}
