"""Every test runs on asyncio, uvloop and trio if it is `async def`, and fails if it leaves anything open behind it."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

import labtether as lt
import labtether.testing
from labtether.testing._leaks import Holding, left_open
from support.logs import Told

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background deaf to Ctrl-C, and so would be every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE = float(os.environ.get("LABTETHER_LEAK_PATIENCE", "2.0"))
"""Seconds that an ending under way may take after its test."""

BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
if sys.platform == "win32":
    del BACKENDS["uvloop"]


def wanted_backends(item: pytest.Item) -> list[str]:
    """The backends that the markers of a test leave."""
    wanted = set(BACKENDS)
    if item.get_closest_marker("asyncio_only"):
        wanted -= {"trio"}
    if item.get_closest_marker("trio_only"):
        wanted &= {"trio"}
    if mark := item.get_closest_marker("backends"):
        assert set(mark.args) <= {"asyncio", "uvloop", "trio"}, f"{item.nodeid}: no such backend among {mark.args}"
        wanted &= set(mark.args)
    return [name for name in BACKENDS if name in wanted]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each async test, once on each backend."""
    if "anyio_backend" in metafunc.fixturenames:
        names = wanted_backends(metafunc.definition)
        metafunc.parametrize("anyio_backend", [BACKENDS[name] for name in names], ids=names, indirect=True)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """What anyio's plugin runs the test on."""
    chosen: tuple[str, dict[str, Any]] = request.param
    return chosen


@pytest.fixture
def backend(anyio_backend: tuple[str, dict[str, Any]]) -> str:
    """ "asyncio", "uvloop" or "trio"."""
    return next(name for name, chosen in BACKENDS.items() if chosen == anyio_backend)


@pytest.fixture(scope="session")
def engine() -> None:
    """What comes once and stays is there before anything is counted: the engine's thread, uvloop's signal pipe,
    labtether's own loop."""
    for name, options in BACKENDS.values():
        anyio.run(anyio.sleep, 0, backend=name, backend_options=options)
    with lt.link("sim://balance").sync:
        pass
    lt.lifecycle.sync.stop()


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest, engine: None) -> Iterator[None]:
    """The leak gate, and the gate for Rust panics."""
    before, panics = Holding.now(), labtether.testing.panics()
    yield
    new_panics = labtether.testing.panics() - panics
    if not request.node.get_closest_marker("leaves_open") and (more := left_open(before, PATIENCE)):
        pytest.fail("left open:\n  " + "\n  ".join(more), pytrace=False)
    if new_panics and not request.node.get_closest_marker("expects_panic"):
        pytest.fail(f"{new_panics} Rust panics", pytrace=False)


@pytest.fixture
def told() -> Iterator[Told]:
    """What comes to the log meanwhile."""
    logger = logging.getLogger("labtether")
    handler, before = Told(), logger.level
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)
