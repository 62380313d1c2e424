"""CPython's own tests of its thread pool, from the library of the interpreter that runs this, against `Executor`.

Before 3.12 they are one module, afterwards a package; where the library comes without them, this file is skipped.
"""

from __future__ import annotations

import importlib
import logging
import sys
import unittest
from collections.abc import Iterator
from concurrent import futures
from types import ModuleType
from typing import Any

import pytest

from labtether._executor import Executor

DO_NOT_APPLY = {
    "test_thread_names_default": "wants threads called ThreadPoolExecutor-N; ours are called after the Executor",
    "test_free_reference_yielded_future": "makes its own concurrent.futures.Future objects: no executor takes part",
    "test_correct_timeout_exception_msg": "makes its own concurrent.futures.Future objects: no executor takes part",
}
"""Tests of thread pools that are not run, and why. Those of process pools and of bare futures are not collected."""
if sys.version_info < (3, 13):
    DO_NOT_APPLY["test_cancel_futures_wait_false"] = (
        "wants a worker to begin before the next statement; CPython has taken that back (gh-116682)"
    )

MIXINS = (
    ("test_thread_pool", "ThreadPoolExecutorTest"),
    ("test_shutdown", "ThreadPoolShutdownTest"),
    ("test_wait", "ThreadPoolWaitTests"),
    ("test_as_completed", "ThreadPoolAsCompletedTest"),
    ("test_init", "ThreadPoolInitializerTest"),
    ("test_init", "ThreadPoolFailingInitializerTest"),
)
OLD_NAMES = {"ThreadPoolAsCompletedTest": "ThreadPoolAsCompletedTests"}

SUBSTITUTE = f"""import sys
sys.path[:] = {sys.path!r}
import concurrent.futures
from labtether._executor import Executor
concurrent.futures.ThreadPoolExecutor = Executor
"""


def module(name: str) -> ModuleType | None:
    """The module of the library's tests that holds this part of them."""
    for path in (f"test.test_concurrent_futures.{name}", "test.test_concurrent_futures"):
        try:
            return importlib.import_module(path)
        except ModuleNotFoundError:
            continue
    return None


def collected() -> Iterator[tuple[type[unittest.TestCase], str]]:
    """Each test method, in a class of its own for our executor."""
    for part, class_name in MIXINS:
        found = module(part)
        case: Any = found and (getattr(found, class_name, None) or getattr(found, OLD_NAMES.get(class_name, ""), None))
        if case is None:
            continue
        for name in unittest.TestLoader().getTestCaseNames(case):
            yield case, name


CASES = list(collected())

pytestmark = pytest.mark.slow


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """`futures.ThreadPoolExecutor` is ours, for the tests' own processes too."""
    monkeypatch.setattr(futures, "ThreadPoolExecutor", Executor)
    part = module("test_shutdown")
    assert part is not None
    original: Any = part.assert_python_ok

    def assert_python_ok(option: str, code: str, **env: str) -> Any:
        assert option == "-c"
        # The import of a name that the children make up from the class's is the one thing changed in what they run.
        code = code.replace("import Executor\n", "import ThreadPoolExecutor as Executor\n")
        return original(option, f"{SUBSTITUTE}exec({code!r})", **env)

    monkeypatch.setattr(part, "assert_python_ok", assert_python_ok)


@pytest.mark.skipif(not CASES, reason="this interpreter comes without test.test_concurrent_futures")
@pytest.mark.parametrize(("case", "name"), CASES, ids=[f"{case.__name__}.{name}" for case, name in CASES])
def test_what_cpython_asks_of_its_thread_pool(
    case: type[unittest.TestCase], name: str, ours: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in DO_NOT_APPLY:
        pytest.skip(DO_NOT_APPLY[name])
    monkeypatch.setattr(case, "executor_type", Executor)
    # It fails initializers on purpose, and looks itself at what is logged.
    monkeypatch.setattr(logging.getLogger("concurrent.futures"), "propagate", False)
    result = unittest.TestResult()
    case(name).run(result)
    for _test, reason in result.skipped:
        pytest.skip(reason)
    wrong = [text for _test, text in [*result.errors, *result.failures]]
    assert not wrong, "\n".join(wrong)
    assert result.testsRun == 1


@pytest.mark.skipif(not CASES, reason="this interpreter comes without test.test_concurrent_futures")
def test_what_is_not_run_is_in_the_library() -> None:
    assert {name for _case, name in CASES} >= {
        "test_submit",
        "test_threads_terminate",
        "test_20369",
        "test_initializer",
    }
    assert {name for _case, name in CASES} & set(DO_NOT_APPLY)
