"""Side by side with the peers, in one run: `python benchmarks/run.py [ROW ...] [--quick]`. See README.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

from instruments import Native, NoCompiler
from rounds import Measured, interleave
from row import Row, Subject
from rows import rows
from table import table

WORKER = str(Path(__file__).parent / "worker.py")
PACKAGES = ("labtether", "anyio", "pyserial", "pyserial-asyncio-fast", "trio", "uvloop")


def main() -> int:
    wanted = arguments()
    chosen = [row for row in rows() if not wanted.rows or row.key in wanted.rows]
    seed = wanted.seed if wanted.seed is not None else random.SystemRandom().randrange(1 << 32)
    about = environment(seed)
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    native: Native | None = None
    try:
        native = Native()
    except NoCompiler as error:
        print(f"\n{error}; the rows that need them are left out: {', '.join(row.key for row in chosen if row.line)}")
        chosen = [row for row in chosen if not row.line]
    report: dict[str, Any] = {"environment": about, "rows": []}
    failed = False
    try:
        for row in chosen:
            entry, measured = run(row, native, wanted, random.Random(f"{seed} {row.key}"))
            report["rows"].append(entry)
            failed = failed or bool(measured.failed)
    finally:
        if native is not None:
            native.__exit__(None, None, None)
    about["load at the end"] = load()
    print(f"\nload at the end: {about['load at the end']}")
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Side by side with the peers, in one run.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these of {', '.join(row.key for row in rows())}")
    parser.add_argument("--rounds", type=int, default=20, help="interleaved rounds (20)")
    parser.add_argument("--each", type=int, help="operations in a round, instead of the row's own number")
    parser.add_argument("--quick", action="store_true", help="a few short rounds: whether it runs, not what it costs")
    parser.add_argument("--seed", type=int, help="of the shuffling; printed by every run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there, too")
    wanted = parser.parse_args()
    unknown = set(wanted.rows) - {row.key for row in rows()}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return wanted


def run(
    row: Row, native: Native | None, wanted: argparse.Namespace, shuffle: random.Random
) -> tuple[dict[str, Any], Measured]:
    each = wanted.each or row.each
    rounds = max(3, round(wanted.rounds * row.rounds))
    if wanted.quick:
        each, rounds = max(100 if row.unit == "await" else 5, each // 10), 2
    missing = {subject.name: lacks(subject) for subject in row.subjects if lacks(subject)}
    present = [subject for subject in row.subjects if subject.name not in missing]
    commands = {subject.name: command(row, subject, native) for subject in present}
    measured = interleave(
        commands, rounds=rounds, each=each, warm_up=max(each // 5, row.warm_up), shuffle=shuffle, tell=progress
    )
    progress("")
    print(f"\n{row.title}\n{rounds} rounds of {each}\n")
    entry = table(row, measured)
    for name, why in (missing | measured.failed).items():
        print(f"  {name}: left out, {why}")
    for note in row.notes:
        print(f"  {note}")
    entry |= {"key": row.key, "title": row.title, "rounds": rounds, "each": each, "left out": missing | measured.failed}
    return entry, measured


def command(row: Row, subject: Subject, native: Native | None) -> list[str]:
    """Each subject gets an instrument of its own, so that none inherits another's connection."""
    if row.line is None or native is None:
        return [sys.executable, WORKER, str(subject.key)]
    address = native.bank(row.line, row.ports) if row.ports > 1 else native.instrument(row.line, row.mode)
    if subject.key is None:
        what = "links" if row.ports > 1 else {"push": "messages", "gaps": "gaps"}.get(row.mode, "query")
        return [native.limit, row.line, what, address]
    return [sys.executable, WORKER, subject.key, row.line, address]


def lacks(subject: Subject) -> str:
    ours = ("labtether",) if subject.name.startswith("labtether") else ()
    for module in ours + subject.needs:
        if importlib.util.find_spec(module) is None:
            hint = "make bench builds it" if module.startswith("labtether") else "pip install it"
            return f"{module} is not installed ({hint})"
    return ""


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def environment(seed: int) -> dict[str, str]:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs",
        "packages": ", ".join(versions),
        "begun": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seed": str(seed),
        "load at the start": load(),
    }


def load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
