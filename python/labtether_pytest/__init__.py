"""The pytest plugin: fixtures, the leak gate, and what a failed test shows. Loaded by pytest wherever labtether is
installed; it imports the rest when a test uses it.

All fixtures are synchronous, so that one test works under the anyio plugin, pytest-asyncio, pytest-trio and in a
unittest.TestCase.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from labtether.testing import VirtualTime
    from labtether.testing._labsim import Labsim

__all__: list[str] = []

PATIENCE = 2.0
"""Seconds that an ending under way may take after its test."""
LEAKS = ("error", "warn", "off")
INSTRUMENTS = ("replay", "record", "live", "off")

_LABSIM = pytest.StashKey["Labsim"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which instruments are used, and the ini option of the leak gate."""
    group = parser.getgroup("labtether")
    group.addoption(
        "--instruments",
        choices=INSTRUMENTS,
        default="replay",
        help="what labsim.cassette uses: its recording, the real instrument (recorded anew, or not), or none: skip",
    )
    parser.addini(
        "labtether_leaks",
        f"what to do if a test leaves something of labtether's open: {', '.join(LEAKS)}",
        default="error",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Markers, and a check of what is configured."""
    config.addinivalue_line("markers", "everywhere(*faults): run once under each fault (labtether.testing.faults.ALL)")
    config.addinivalue_line("markers", "leaves_open(why): labtether's leak gate looks away, and why")
    if (leaks := config.getini("labtether_leaks")) not in LEAKS:
        raise pytest.UsageError(f"labtether_leaks is one of {', '.join(LEAKS)}, not {leaks!r}")


# -- fixtures ----------------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the marker `everywhere` runs once without a fault and once under each."""
    mark = metafunc.definition.get_closest_marker("everywhere")
    if mark is None:
        return
    if "labtether_fault" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: everywhere is for tests that use labsim")
    from labtether.testing import faults

    chosen = [None, *(mark.args or faults.ALL)]
    names = ["no fault" if fault is None else repr(fault) for fault in chosen]
    metafunc.parametrize("labtether_fault", chosen, ids=names)


@pytest.fixture
def labtether_fault() -> Any:
    """The fault of every instrument of this test, or None; the marker `everywhere` sets it."""
    return None


@pytest.fixture
def labsim(request: pytest.FixtureRequest, labtether_fault: Any) -> Iterator[Labsim]:
    """Makes simulated instruments for this test, at real places, and fails it unless their scripts were followed."""
    from labtether.testing._labsim import Labsim

    if "virtual_time" in request.fixturenames:
        # Around the instruments, whatever the order in which the test names the two.
        request.getfixturevalue("virtual_time")
    labsim = Labsim(() if labtether_fault is None else (labtether_fault,))
    labsim.mode = request.config.getoption("--instruments")
    labsim.test = (request.path, request.node.name)
    labsim.passed = False
    request.node.stash[_LABSIM] = labsim
    yield labsim
    labsim.stop()


@pytest.fixture
def instrument(labsim: Labsim) -> Labsim:
    """Another name for `labsim`."""
    return labsim


@pytest.fixture
def virtual_time(labtether_leak_gate: None) -> Iterator[VirtualTime]:
    """The clock of labtether and of its instruments in memory stands still while anything can run, and jumps when
    nothing can; see `labtether.testing.virtual_time`."""
    from labtether.testing import virtual_time

    with virtual_time() as clock:
        yield clock


# -- how a test went ---------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Check the scripts when the test has run, as part of it; show the wires if it fails."""
    try:
        value = yield
    except BaseException:
        _show(item)
        raise
    if getattr(item, "_excinfo", None):  # as unittest's own way of failing leaves it
        _show(item)
    elif (labsim := item.stash.get(_LABSIM, None)) is not None:
        if wrong := _mismatch(labsim):
            pytest.fail(wrong, pytrace=False)  # what it says is all there is to see
        labsim.passed = True
    return value


def _mismatch(labsim: Labsim) -> str:
    """In what a conversation did not go as its script has it."""
    try:
        labsim.check()
    except AssertionError as wrong:
        return str(wrong)
    return ""


def _show(item: pytest.Item) -> None:
    labsim = item.stash.get(_LABSIM, None)
    for name, wire in labsim.wire_logs() if labsim is not None else ():
        item.add_report_section("call", f"wire of {name}", wire)


# -- the leak gate -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def labtether_leak_gate(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves something open: labtether's own links, scopes, tasks and threads in any test,
    descriptors and threads of any kind in those that use labsim."""
    mode = request.config.getini("labtether_leaks")
    if mode == "off" or request.node.get_closest_marker("leaves_open"):
        yield
        return
    used = "labsim" in request.fixturenames
    if used:
        from labtether.testing._leaks import Holding

        _engine()
        held = Holding.now()
    before = _alive()
    yield
    more = _settled(before)
    if used:
        from labtether.testing._leaks import SOCKETPAIR, left_open

        # What belongs to an event loop may live longer than one test, as the loop may.
        more += left_open(held, PATIENCE, but=("anon_inode:", SOCKETPAIR))
    if more:
        import labtether

        text = "left open:\n  " + "\n  ".join(more) + f"\n\n{labtether.lifecycle.tree()}"
        if mode == "error":
            pytest.fail(text, pytrace=False)
        warnings.warn(pytest.PytestWarning(text), stacklevel=1)


def _engine() -> None:
    """What comes once and stays is there before anything is counted."""
    from labtether._engine import ensure_started

    ensure_started()


def _alive() -> dict[int, str]:
    """Of labtether, which nobody may have imported."""
    if "labtether" not in sys.modules:
        return {}
    from labtether.testing._leaks import alive

    return alive()


def _settled(before: dict[int, str]) -> list[str]:
    """What of labtether's is there and was not before, once endings under way had a little time."""
    give_up = time.monotonic() + PATIENCE
    while True:
        more = [name for number, name in _alive().items() if number not in before]
        if not more or time.monotonic() > give_up:
            return more
        gc.collect()
        time.sleep(0.005)
