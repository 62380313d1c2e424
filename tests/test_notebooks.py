"""The notebooks: each runs from top to bottom in a real kernel and leaves nothing open there, and each keeps to what
makes one readable at the bench: few cells, short ones, a word about safety, and an end that stops everything."""

import ast
import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.notebooknode import NotebookNode

from labtether.testing import device, script
from support import run_child
from support.watching import Kernel

ROOT = Path(__file__).parent.parent
BOOKS = {path.stem: path for path in sorted(ROOT.joinpath("notebooks").glob("*.ipynb"))}
FIRST = "01_first_reading"

MOST_CELLS = 12
MOST_LINES = 6
WIDEST = 120
ENOUGH = 60
"""Seconds that one cell may take."""

NOT_OURS = ("mpl-data", "thread 'python'", "ZMQbg", "Thread-", "anon_inode")
"""A first drawing loads fonts and threads of numpy's, a first big message starts pyzmq's collector, and ipykernel keeps
a pipe of each thread that has shown something for ten seconds more. Threads of ours have names."""

# Before a notebook's own cells, and after them: what its kernel holds must be the same. The link makes what comes once
# and stays.
BEFORE = """
import labtether as lt
from labtether.testing._leaks import Holding, left_open
async with lt.link("sim://balance"):
    pass
holding = Holding.now()
"""
AFTER = f"""
import json
print(json.dumps([left_open(holding, but={NOT_OURS}), str(lt.lifecycle.tree())]))
"""

EVERY = pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS)


def opened(book: Path) -> Any:
    """As nbformat reads it."""
    return nbformat.read(book, as_version=4)  # type: ignore[no-untyped-call]


def cells(book: Path, kind: str | None = None) -> list[NotebookNode]:
    """Those of one kind, in order; None: all."""
    return [cell for cell in opened(book).cells if kind in (None, cell.cell_type)]


def code(source: str) -> Any:
    """A cell."""
    return nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]


def shown(cell: NotebookNode) -> str:
    """What stands below it, as text."""
    return "".join(
        output.text if output.output_type == "stream" else output.data["text/plain"] for output in cell.outputs
    )


def run(book: Path, folder: Path) -> list[NotebookNode]:
    """Its cells, executed in `folder` by a kernel of their own, which has ended. Fails with what a cell raised, and
    with what the kernel still held at the end."""
    notebook = opened(book)
    notebook.cells = [code(BEFORE), *notebook.cells, code(AFTER)]
    client = NotebookClient(
        notebook, timeout=ENOUGH, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    # Its `execute()` keeps an event loop for the next time.
    asyncio.run(client.async_execute())
    _first, *own, last = notebook.cells
    assert json.loads(shown(last)) == [[], "lifecycle labtether"]
    return list(own)


def test_there_are_five() -> None:
    assert list(BOOKS) == [
        FIRST,
        "02_your_instrument",
        "03_many_at_once",
        "04_when_it_goes_wrong",
        "05_protocol_tests",
    ]


# -- As they are written -----------------------------------------------------------------------------------------------


@EVERY
def test_it_is_short(book: Path) -> None:
    assert len(cells(book)) <= MOST_CELLS
    for cell in cells(book):
        lines = cell.source.splitlines()
        assert 1 <= len(lines) <= MOST_LINES, cell.id
        assert max(map(len, lines)) <= WIDEST, cell.id


@EVERY
def test_it_begins_with_a_title_and_ends_with_a_stop(book: Path) -> None:
    first, last = cells(book)[0], cells(book)[-1]
    assert first.cell_type == "markdown"
    assert re.match(r"# \w.{20,}\n", first.source), "the title says what comes of it"
    assert last.cell_type == "code"
    assert re.search(r"^await \w+\.stop\(\)", last.source, re.MULTILINE)


@EVERY
def test_what_is_to_be_minded_stands_before_anything_is_opened(book: Path) -> None:
    words = cells(book)[0].source
    assert "emergency stop" in words or "Nothing moves here" in words


@EVERY
def test_it_is_in_order_as_a_file(book: Path) -> None:
    notebook: Any = json.loads(book.read_text("utf-8"))
    nbformat.validate(notebook)
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]+", name) for name in names), "names that stay, and can be read in a diff"
    for cell in cells(book, "code"):
        assert cell.metadata == {}
        if book.stem != FIRST:
            assert (cell.outputs, cell.execution_count) == ([], None)


@EVERY
def test_it_uses_nothing_that_is_not_public(book: Path) -> None:
    source = "\n".join(cell.source for cell in cells(book, "code"))
    tree = compile(source, book.name, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert [name for name in names if name.startswith("_")] == []


@EVERY
def test_what_it_links_to_is_there(book: Path) -> None:
    prose = "\n".join(cell.source for cell in cells(book, "markdown"))
    missing = [target for target in re.findall(r"\]\(([^)]+)\)", prose) if not book.parent.joinpath(target).is_file()]
    assert missing == []


# -- As they run -------------------------------------------------------------------------------------------------------


def test_the_first_keeps_its_outputs_and_they_are_what_comes_out(tmp_path: Path) -> None:
    fresh = [cell for cell in run(BOOKS[FIRST], tmp_path) if cell.cell_type == "code"]
    kept = cells(BOOKS[FIRST], "code")
    assert [shown(cell) for cell in kept] == [shown(cell) for cell in fresh]
    assert [cell.execution_count for cell in kept] == list(range(1, len(kept) + 1))
    third = cells(BOOKS[FIRST])[2]
    assert shown(third) == "42.0", "a value in the third cell"
    assert all(output.output_type != "error" for cell in kept for output in cell.outputs)


SAID = {
    "02_your_instrument": {
        "identify": r'^I4 A "B021002593"\n.* ! open: .*\n.* > I4\\r\\n\n',
        "use": r"^I4 A .* 42\.0 g\n42\.0 g of tare, then 0\.0 g\n$",
        "watch": r"^<Plot balance SI: stopped, \d\d readings>$",
        "stop": r"'SI', 'TAC'",
    },
    "03_many_at_once": {
        "run-7": r"\[\(1, 'A1', 42\.0\), \(2, 'A2', 42\.0\), \(3, 'A1', 42\.0\)\]$",
        "run-8": r"error: 07\n$",
        "how-each-ended": r"^Failed\(.*07.*\nCancelled\(.*'never_started'.*\n<Slots deck: 2 of 2 free> <Lock arm: free",
        "stop": r"^\('closed', 'closed'\)$",
    },
    "04_when_it_goes_wrong": {
        "timeout": r"no reply to 'WHRE' within 0\.5 s; nothing was heard\n'12\.5 mm'$",
        "unplug": r"^stage is gone .*unplugged",
        "failed-setup": r"cannot open /dev/ttyNOSUCH: there is no such port.*\n'12\.5 mm'$",
        "stop-it": r"reason='as Stop does'.*'halted'.*\n\['HOME', 'HALT'\]\n12\.5 mm\n$",
        "stop": r"^'closed'$",
    },
    "05_protocol_tests": {
        "script": r"^1\.23 V\n$",
        "mismatch": r"1 expected and not heard\n(.*\n)*  - \*RST\n",
        "transcript": r"^1\.23 V\n$",
        "record": r"> S\n~ \d+ms\n< S S   42\.00000 g\n",
        "play": r'^I4 A "B021002593"\n42\.0 g\n$',
    },
}
"""What the cells of the others come to: patterns, because their ports and times change."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BOOKS if name != FIRST])
def test_it_runs_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    said = {cell.id: shown(cell) for cell in run(BOOKS[name], tmp_path) if cell.cell_type == "code"}
    for cell, words in SAID[name].items():
        assert re.search(words, said[cell]), (cell, said[cell])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as kernel:
        yield kernel


@pytest.mark.slow
def test_whoever_clicks_stop_where_the_fourth_says_so_sees_what_it_says(kernel: Kernel) -> None:
    source = {cell.id: cell.source for cell in cells(BOOKS["04_when_it_goes_wrong"], "code")}
    for cell in ("the-stage", "setup", "home"):
        kernel.run(source[cell])
    clicked = kernel.start("await home()")
    kernel.until(lambda: kernel.printed.endswith("HOMING\n"))
    kernel.interrupt()
    kernel.wait(clicked)
    assert [name for name, _ in kernel.errors] == ["CancelledError"]
    kernel.errors.clear()
    kernel.run("assert told.heard[-2:] == ['HOME', 'HALT'], told.heard")
    for cell in ("stop-it", "stop"):
        kernel.run(source[cell])


@pytest.mark.slow
def test_the_second_can_be_run_again_in_the_middle(kernel: Kernel) -> None:
    source = {cell.id: cell.source for cell in cells(BOOKS["02_your_instrument"], "code")}
    again = ["choose-the-port", "use", "use", "begin-and-end", "what-it-can-do", "use", "stop"]
    for cell in ["find-the-port", "choose-the-port", "begin-and-end", "what-it-can-do", "use", *again]:
        kernel.run(source[cell])


@pytest.mark.slow
def test_whoever_ends_the_kernel_finds_done_what_the_fourth_says() -> None:
    source = {cell.id: cell.source for cell in cells(BOOKS["02_your_instrument"], "code")}
    with script("stage") as stage, device("balance") as balance, Kernel() as kernel:
        kernel.run(f"stage = await lt.serial({stage.port!r}, 9600, park='HALT').setup(); port = {balance.port!r}")
        for cell in ("begin-and-end", "what-it-can-do", "use"):
            kernel.run(source[cell])
        kernel.shut_down()
        assert stage.heard == ["HALT"]
        assert balance.heard[-2:] == ["S", "TAC"]
        with stage.link().sync, balance.link().sync:
            assert kernel.errors == [], "and both ports are free"


@pytest.mark.slow
def test_make_runs_them_by_nbmake() -> None:
    recipe = re.search(r"^notebooks:.*\n\t(.*)$", ROOT.joinpath("Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe is not None
    command = recipe[1].replace("$(BIN)/python", "PYTHON").split()
    assert command[:4] == ["PYTHON", "-m", "pytest", "--nbmake"]
    finished = run_child(
        """
        import subprocess, sys
        done = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True)
        print(done.stdout, done.stderr)
        sys.exit(done.returncode)
        """,
        *command[1:-1],
        str(BOOKS[FIRST]),
        timeout=ENOUGH,
    )
    assert "1 passed" in finished.stdout, finished.stdout
