"""Every display in a real browser, on the grounds of the notebooks' themes: its text and its dots stand out, nothing is
wider than its cell, and nothing that a device said has run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import labtether as lt
from labtether._crowd import links as known
from labtether._crowd import present
from labtether._show.plotting import drawn, plot_html
from labtether._show.rates import Rates
from labtether._show.watching import watch_forms
from support.pages import EVIL, bundle, gallery
from support.themes import CONTRASTS, THEMES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

WIDTH = 800

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.leaves_open("the browser is the module's, and matplotlib keeps its fonts open"),
]


async def displays(name: str = "") -> dict[str, str]:
    """The HTML of everything, by what it is."""
    async with gallery(name) as things:
        shown = {what: bundle(thing)["text/html"] for what, thing in things.items()}
        links = present(known)
        rates = Rates()
        rates.look(links, 0.0)
        await things["link"].query("S")
        looks = rates.look(links, 0.25)
        for state, why in (("live", None), ("stopped", "interrupted")):
            forms = watch_forms("watch", state, why, looks, lt.lifecycle.tree())
            shown[f"watch, {state}"] = forms["text/html"]
    times = [at / 10 for at in range(200)]
    lines = [[20 + at**0.5 for at in times], [24.0 - at / 20 for at in times]]
    png = drawn((times, lines), "TEMP? [°C]")
    shown["plot"] = str(plot_html("oven TEMP?", "live", "24.4, 23 °C", "last 200 of 340 readings", png, "", None))
    one = drawn((times[:9], [[42.0, 42.1, 41.9, 42.2, 42.0, 41.8, 42.1, 42.0, 42.05]]), "S [g]")
    shown["short plot"] = str(
        plot_html("scale S", "failed", "42.05 g", "9 readings", one, "", f"LinkLost: scale was unplugged {name}")
    )
    shown["empty plot"] = str(plot_html("scale S", "live", "", "0 readings", None, "", None))
    return shown


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    return anyio.run(displays)


@pytest.fixture(scope="module")
def evil() -> dict[str, str]:
    return anyio.run(displays, EVIL)


@pytest.fixture(scope="module")
def browser(shown: dict[str, str], evil: dict[str, str]) -> Iterator[Any]:
    # After the displays were made: playwright keeps a loop running in this thread.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: LABTETHER_SCREENSHOTS, to keep them."""
    kept = os.environ.get("LABTETHER_SCREENSHOTS")
    if kept is None:
        return tmp_path_factory.mktemp("screenshots")
    Path(kept).mkdir(parents=True, exist_ok=True)
    return Path(kept)


def page_of(parts: dict[str, str], theme: str) -> str:
    """A notebook's outputs, one below the other."""
    outputs = "".join(
        f'<p style="margin:14px 0 2px;opacity:.5">{what}</p><div class="jp-RenderedHTMLCommon">{html}</div>'
        for what, html in parts.items()
    )
    return f"<!doctype html><meta charset=utf-8><style>{THEMES[theme]}</style><body>{outputs}</body>"


@pytest.mark.parametrize("theme", THEMES)
def test_everything_can_be_read(browser: Any, shown: dict[str, str], folder: Path, theme: str) -> None:
    page = browser.new_page(viewport={"width": WIDTH, "height": 900})
    try:
        page.set_content(page_of(shown, theme))
        page.screenshot(path=folder / f"{theme}.png", full_page=True)
        page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        page.screenshot(path=folder / f"{theme}-unfolded.png", full_page=True)
        seen = page.evaluate(CONTRASTS)
        dim = [one for one in seen if one["ratio"] < (3 if one["words"] == "(dot)" else 4.5)]
        assert len(seen) > 200
        assert dim == []
        wide = [one for one in seen if one["right"] > WIDTH]
        assert wide == []
    finally:
        page.close()


def test_nothing_that_the_world_says_runs(browser: Any, evil: dict[str, str]) -> None:
    page = browser.new_page()
    told: list[str] = []

    def dismiss(dialog: Any) -> None:
        told.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    try:
        page.set_content(page_of(evil, "lab-light"))
        page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        assert page.locator(".labtether script").count() == 0
        assert "<script>alert('x')</script>" in page.inner_text("body")
        assert told == []
    finally:
        page.close()
