"""How things look in a notebook: both forms of everything, whole HTML, nothing of the world's that acts, the facts."""

import json
import pickle
import re
from typing import Any

import pytest

import labtether as lt
from labtether._show.blocks import TONES, seconds, size
from labtether._show.bundle import TREE, html_of
from labtether._show.links import FEW, MANY
from labtether._show.markup import Html, readable, shortened, tag
from labtether.testing import script
from support import run_child
from support.nurseries import forever, in_time, settled
from support.pages import EVIL, Page, bundle, gallery, page


async def test_everything_has_text_and_html() -> None:
    async with in_time(), gallery() as things:
        for what, thing in things.items():
            forms = bundle(thing)
            assert forms["text/plain"] == (str(thing) if what in ("tree", "trace") else repr(thing)), what
            read = Page(forms["text/html"])
            assert read.text, what
            assert ("class", "labtether") in read.attributes, what
            assert forms["text/html"].isprintable(), what


async def test_what_the_world_says_is_text() -> None:
    async with in_time(), gallery(EVIL) as things:
        for what, thing in things.items():
            source = bundle(thing)["text/html"]
            read = Page(source)
            assert "script" not in read.tags, what
            assert "\x1b" not in source, what
            assert not [value for key, value in read.attributes if key.startswith("on")], what
        assert "<script>" in page(things["link"]).text
        assert page(things["instrument"]).text.count("alert('x')") >= 3
        assert page(things["unready instrument"]).text.count("alert('x')") >= 2


async def test_a_device_that_says_markup_is_shown_saying_it() -> None:
    with script("psu", framing="\n") as psu:
        psu.when("MEAS?").reply("<script>alert(1)</script>\x1b[2J")
        async with in_time(), lt.link(psu.url, framing="\n") as link:
            await link.query("MEAS?")
            for thing in (link, link.trace(), lt.Ok(await link.query("MEAS?"))):
                read = page(thing)
                assert "script" not in read.tags
                assert r"<script>alert(1)</script>\x1b[2J" in read.text


async def test_a_link_says_what_there_is_to_know() -> None:
    with script("psu", framing="\n") as psu:
        psu.when("MEAS?").reply("1.23")
        async with in_time(), lt.serial(psu.port, 19200, parity="E", framing="\n", name="psu", timeout=2) as link:
            for _ in range(7):
                await link.query("MEAS?")
            read = page(link)
        for fact in ("psu", "open", psu.port, "19200 8E1", "2 s", "42 B out, 35 B in", " ago", r"MEAS?\n", r"1.23\n"):
            assert fact in read.text, (fact, read.text)
        assert re.search(r"exchanges\s*7", read.text)
        assert f"the last {FEW} of 15 events" in read.text
        assert "details" in read.tags
        assert "late" not in read.text
        assert "closed" in page(link).text


async def test_a_link_says_what_was_late_and_what_was_dropped() -> None:
    with script("psu", framing="\n") as psu:
        psu.when("MEAS?").reply("1.23", after=0.15)
        psu.when("*IDN?").reply("ACME")
        async with in_time(), lt.link(psu.url, framing="\n") as link:
            with pytest.raises(lt.LinkTimeout):
                await link.query("MEAS?", timeout=0.05)
            await link.query("*IDN?")
            assert "late replies1, dropped" in page(link).text


async def test_a_lost_link_says_why() -> None:
    with script("psu", framing="\n") as psu:
        async with in_time():
            link = await lt.link(psu.url, framing="\n", name="psu").setup()
            psu.disconnect()
            with pytest.raises(lt.LinkLost) as lost:
                await link.receive()
            read = page(link)
            assert f"lost{lost.value}" in read.text
            await link.stop()


def test_a_link_that_was_never_opened_has_a_page() -> None:
    read = page(lt.serial("/dev/ttyUSB7", name="oven"))
    assert "oven" in read.text
    assert "closed" in read.text
    assert "details" not in read.tags


async def test_the_tree_is_there_as_json_too() -> None:
    async with in_time(), gallery() as things:
        tree = things["tree"]
        forms = bundle(tree)
        assert json.loads(json.dumps(forms[TREE])) == tree.to_dict()
        assert TREE not in bundle(things["link"])
        assert tree._repr_html_() == forms["text/html"]
        read = page(things["nursery"])
        for alive in ("run 7", "arm", "“moving plate 3”", "second", "deck", "holder", "waiter"):
            assert alive in read.text, alive


async def test_a_notebook_gets_the_forms_it_asks_for() -> None:
    async with in_time(), gallery() as things:
        tree = things["tree"]
        assert set(tree._repr_mimebundle_()) == {"text/plain", "text/html", TREE}
        assert set(tree._repr_mimebundle_(include={"text/html"})) == {"text/html"}
        assert set(tree._repr_mimebundle_(exclude={"text/html"})) == {"text/plain", TREE}


async def test_each_says_how_it_is() -> None:
    async with in_time(), gallery() as things:
        states = {
            "link": "open",
            "closed link": "closed",
            "nursery": "open",
            "handle": "running",
            "ended handle": "returned",
            "cancelled handle": "cancelled",
            "Ok": "returned",
            "Failed": "failed",
            "Cancelled": "cancelled",
            "lock": "held",
            "slots": "held in part",
            "semaphore": "held in part",
            "event": "not set",
            "set event": "set",
            "channel": "open",
        }
        for what, state in states.items():
            source = bundle(things[what])["text/html"]
            # Beside its dot, in words.
            assert re.search(rf"labtether-dot[^>]*></span>{state}</span>", source), (what, source)
        assert "the lid is open" in page(things["Failed"]).text
        assert "seen by nobody" in page(things["Failed"]).text
        assert "1 min 1 s" in page(things["Failed"]).text
        assert r"MOVE \0\r\n" in page(things["Cancelled"]).text
        assert "halted" in page(things["Cancelled"]).text
        assert "enough" in page(things["cancelled handle"]).text
        assert "moving plate 3" in page(things["handle"]).text
        assert "freeA2" in page(things["slots"]).text
        assert "1 of 2 free" in page(things["semaphore"]).text
        assert re.search(r"holds.*arm.*waits.*gripper", page(things["lock"]).text)
        assert "holds1 of 4 (at most 1)" in page(things["channel"]).text


async def test_a_nursery_says_that_it_ends_and_that_it_has_ended() -> None:
    nursery = lt.open_nursery("run 7")
    assert "not entered" in page(nursery).text
    async with in_time(), nursery:
        nursery.start_soon(forever)
        await settled()
        nursery.cancel("the lid is open", grace=0.01)
        read = page(nursery)
        assert "ending" in read.text
        assert "the lid is open" in read.text
    assert "ended" in page(nursery).text


def test_a_channel_and_a_semaphore_that_are_full_say_so() -> None:
    channel = lt.Channel[int](1)
    channel.send_nowait(1)
    assert "full" in page(channel).text
    channel.close()
    assert "ended" in page(channel).text
    semaphore = lt.Semaphore(2)
    with semaphore.sync, semaphore.sync:
        assert "full" in page(semaphore).text
    assert "2 of 2 free" in page(semaphore).text


class Unspeakable(Exception):
    """It cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def test_what_cannot_be_shown_does_not_keep_the_rest_from_being_shown() -> None:
    assert "Unspeakable" in Page(str(html_of(lt.Failed(Unspeakable())))).text
    assert "Unspeakable" in Page(str(html_of(lt.Ok(Unspeakable())))).text


async def test_an_instrument_shows_its_links_and_its_problem() -> None:
    async with in_time(), gallery() as things:
        text = page(things["instrument"]).text
        for fact in ("PlateReader", "reader", "open", "for 0.", "doing reading plate 3", "lamp", "S S   42.00000 g"):
            assert fact in text, fact
        assert "problem" not in text
        text = page(things["unready instrument"]).text
        for fact in ("PlateReader", "closed", "problem: Oops: the lamp is cold"):
            assert fact in text, fact


async def test_a_trace_reads_line_by_line() -> None:
    with script("psu", framing="\n") as psu:
        psu.when("MEAS?").reply("1.23")
        async with in_time(), lt.link(psu.url, framing="\n", name="psu") as link:
            await link.query("MEAS?")
            await link.query("MEAS?")
            trace = link.trace()
    assert isinstance(trace, list)
    assert isinstance(trace, lt.Trace)
    assert trace.of == "psu"
    assert [one.direction for one in trace] == ["!", ">", "<", ">", "<"]
    lines = str(trace).splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d ! open: .*", lines[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d > MEAS\?\\n", lines[1])
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d < 1\.23\\n", lines[2])
    assert str(trace[-2:]).splitlines() == lines[-2:]
    assert isinstance(trace[0], lt.TraceEvent)
    assert pickle.loads(pickle.dumps(trace)).of == "psu"
    assert link.sync.trace() == link.trace()


def test_a_long_trace_says_that_it_is_not_all_there() -> None:
    event = lt.TraceEvent(0.0, 0.0, ">", b"S" * 1000)
    read = page(lt.Trace([event] * (MANY + 1), "psu"))
    assert f"{MANY + 1} events; the last {MANY} of them" in read.text
    assert read.tags.count("tr") == MANY + 1
    assert "700 more characters" in read.text
    assert "of them" not in page(lt.Trace([event] * MANY, "psu")).text


def test_milliseconds_carry_over() -> None:
    text = str(lt.Trace([lt.TraceEvent(59.9996, 0.0, "!", b"", "open")]))
    assert re.fullmatch(r"\d\d:\d\d:00\.000 ! open", text), text


def test_markup_is_made_by_tags_alone() -> None:
    assert tag("b", "<i>") == "<b>&lt;i&gt;</b>"
    assert tag("b", Html("<i></i>"), None, "") == "<b><i></i></b>"
    assert tag("b", title='"><script>') == '<b title="&quot;&gt;&lt;script&gt;"></b>'
    assert readable("a\x00b\x7f\t\n\u202e\ud800") == "a\u2400b\u2421\t\n\ufffd\\ud800"
    assert shortened("abcdef", 4) == "abcd… (2 more characters)"
    assert shortened("abcd", 4) == "abcd"


@pytest.mark.parametrize(
    ("span", "said"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3725, "1 h 2 min"), (90000, "1 d 1 h")],
)
def test_times_are_said_as_people_say_them(span: float, said: str) -> None:
    assert seconds(span) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_949, "999.9 kB"), (2_000_000, "2.0 MB")]
)
def test_bytes_are_said_with_their_unit(count: int, said: str) -> None:
    assert size(count) == said


@pytest.mark.parametrize("tone", TONES.values(), ids=TONES.keys())
@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_a_state_is_seen_on_light_and_on_dark(tone: str, ground: str) -> None:
    low, high = sorted((luminance(tone), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3


def luminance(colour: str) -> float:
    """By the WCAG."""
    parts: list[Any] = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def test_nobody_pays_for_displays_who_does_not_look() -> None:
    seen = run_child("""
        import sys
        import labtether as lt

        lt.lifecycle.tree(), lt.serial("/dev/ttyUSB0").trace()
        print(sorted(name for name in sys.modules if "_show." in name or name in ("matplotlib", "IPython", "tqdm")))
    """)
    assert seen.stdout.strip() == "[]"


def test_a_value_that_cannot_be_shown_has_a_page() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    forms = bundle(lt.Ok(Shy()))
    assert "ZeroDivisionError" in forms["text/plain"]
    assert "ZeroDivisionError" in forms["text/html"]
