"""The README keeps its word: its examples run as they are written, and what it names is there."""

import builtins
import re
from pathlib import Path

import pytest

import labtether.errors
from support import run_child

ROOT = Path(__file__).parent.parent
README = ROOT.joinpath("README.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

# A cell of a notebook may await where it stands; a program may not, and needs not.
RUN = """
    import ast, asyncio, inspect, sys

    code = compile(sys.argv[1], "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {"__name__": "__main__"}

    async def cell():
        await eval(code, names)

    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(cell())
    else:
        exec(code, names)
"""


def test_the_readme_has_its_seven_forms() -> None:
    program, notebook, blocking, instrument, talking, together, protocol = EXAMPLES
    assert "lt.Instrument" in instrument
    assert "asyncio.run(main())" in program
    assert len([line for line in program.splitlines() if line]) <= 12
    assert "await lt.link" in notebook
    assert ".stop()" in notebook
    assert ".sync" in blocking
    assert "abort=" in talking
    assert "open_nursery" in together
    assert "(labsim)" in protocol


@pytest.mark.parametrize("example", EXAMPLES[:5], ids=["program", "notebook", "blocking", "talking", "together"])
def test_an_example_runs_as_written(example: str) -> None:
    finished = run_child(RUN, example)
    assert re.search(r"\b42\.0\b", finished.stdout), finished.stdout
    assert finished.stderr == ""


def test_the_protocol_test_passes_as_written(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(EXAMPLES[6])
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_first_example_prints_what_it_says() -> None:
    identity, weight, *readings = run_child(RUN, EXAMPLES[0]).stdout.splitlines()
    assert identity == 'I4 A "B021002593"'
    assert weight == "42.0 g"
    assert len(readings) == 5
    assert all(re.fullmatch(r"\d{10}\.\d{3}  4\d\.\d{5} g", reading) for reading in readings), readings


def test_what_the_readme_links_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    here = [target for target in targets if "://" not in target]
    assert len(here) > 8
    missing = [target for target in dict.fromkeys(here) if not ROOT.joinpath(target).is_file()]
    assert missing == []


def test_what_the_readme_tells_to_make_can_be_made() -> None:
    told = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    makefile = ROOT.joinpath("Makefile").read_text("utf-8")
    assert {"demo", "test"} <= told
    assert told <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_the_readmes_errors_are_the_packages() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\|", README, re.MULTILINE)
    assert len(rows) == 9
    for name, base in rows:
        error = getattr(labtether.errors, name)
        assert issubclass(error, labtether.LinkError)
        assert not base or issubclass(error, getattr(builtins, base))
