"""A real JupyterLab in a real browser without a window: a notebook is opened, its cells run, buttons clicked."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, sync_playwright

PATIENCE = 60.0
"""Seconds for a server, a browser and a frontend to come up: a guard against hanging."""

SCREENSHOTS = "LABTETHER_SCREENSHOTS"
"""Names the folder where screenshots are kept; without it none are."""

WATCH = """() => {
    const indicator = document.querySelector(".jp-Notebook-ExecutionIndicator");
    window.stopping = {};
    document.addEventListener("click", () => { window.stopping = {clicked: Date.now()}; }, {capture: true});
    new MutationObserver(() => {
        if (indicator.dataset.status === "idle") window.stopping.idle ??= Date.now();
    }).observe(indicator, {attributes: true});
}"""


@contextmanager
def lab(cells: Sequence[str]) -> Iterator["Lab"]:
    """A notebook of these cells in a JupyterLab of its own; the test is skipped where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium: `make debian-packages` installs it on Debian")
    with tempfile.TemporaryDirectory(prefix="labtether-lab-") as folder, serving(Path(folder), cells) as url:
        with sync_playwright() as playwright:
            # As root, as in containers, Chromium runs without its sandbox or not at all; it opens our own page only.
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            try:
                page = browser.new_page(viewport={"width": 1100, "height": 800})
                page.set_default_timeout(PATIENCE * 1000)
                page.goto(url)
                yield Lab(page)
            finally:
                browser.close()


@contextmanager
def serving(folder: Path, cells: Sequence[str]) -> Iterator[str]:
    """JupyterLab's server with folders of its own; the address of the notebook."""
    sources: list[object] = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": cell} for cell in cells
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    content = {"cells": sources, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}
    bench = folder / "notebooks" / "bench.ipynb"
    bench.parent.mkdir()
    bench.write_text(json.dumps(content))
    # Nobody is asked whether he wants news.
    news = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    env = {**os.environ, **{f"JUPYTER_{name}": str(folder / name.lower()) for name in names}}
    env |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "JUPYTER_NO_CONFIG": "1"}
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    options += [f"--ServerApp.root_dir={bench.parent}", "--IdentityProvider.token="]
    options += ["--LabApp.expose_app_in_browser=True"]
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield f"{_address(folder, server)}lab/tree/bench.ipynb"
        finally:
            server.terminate()
            server.wait(PATIENCE)


def _address(folder: Path, server: subprocess.Popen[bytes]) -> str:
    """The server writes down where it is when it listens."""
    give_up = time.monotonic() + PATIENCE
    while True:
        for path in (folder / "runtime_dir").glob("jpserver-*.json"):
            if text := path.read_text():
                url: str = json.loads(text)["url"]
                return url
        assert server.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < give_up, (folder / "log").read_text()
        time.sleep(0.05)


class Lab:
    """The notebook in the browser, its kernel ready."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.cells = page.locator(".jp-Notebook .jp-CodeCell")
        self._idle.wait_for()
        # Before that, keys move the selection and run nothing.
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.evaluate(WATCH)
        self._execute("application:toggle-left-area")

    @property
    def _idle(self) -> Locator:
        return self.page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')

    def start(self, number: int) -> None:
        """Run a cell, and go on."""
        self.cells.nth(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")

    def run(self, number: int) -> str:
        """Run a cell to its end; what is under it then."""
        self.start(number)
        self.cells.nth(number).locator(".jp-InputPrompt").get_by_text("[*]").wait_for(state="detached")
        return self.output(number)

    def output(self, number: int) -> str:
        """What is under a cell."""
        return "\n".join(self.cells.nth(number).locator(".jp-OutputArea-output").all_inner_texts())

    def stop(self) -> tuple[float, float]:
        """Click Stop and wait until the kernel is idle; when was what, as `time.time()` has it."""
        self.page.get_by_role("button", name="Interrupt the kernel").click()
        self.page.wait_for_function("window.stopping.idle")
        stopping: dict[str, float] = self.page.evaluate("window.stopping")
        return stopping["clicked"] / 1000, stopping["idle"] / 1000

    def use_theme(self, name: str) -> None:
        """ "JupyterLab Light" or "JupyterLab Dark"."""
        self._execute("apputils:change-theme", theme=name)
        self.page.locator(f'body[data-jp-theme-name="{name}"]').wait_for(state="attached")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def _execute(self, command: str, **arguments: str) -> None:
        self.page.evaluate("([name, given]) => window.jupyterapp.commands.execute(name, given)", [command, arguments])

    def screenshot(self, name: str, cell: int) -> None:
        """Keep what is seen now of a cell, if anybody wants it."""
        self.cells.nth(cell).locator(".jp-OutputArea-output").last.scroll_into_view_if_needed()
        if folder := os.environ.get(SCREENSHOTS):
            self.page.screenshot(path=Path(folder) / f"{name}.png")
