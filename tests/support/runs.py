"""A run of pytest of its own, as a user's."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

PLUGIN = "labtether_pytest"


def run_pytest(test: Path, *args: str) -> tuple[str, str]:
    """Run one test file: what the last line counts ("1 failed, 2 passed"), and all that was shown."""
    # Where labtether is not installed but lies on the path, nothing loads its plugin.
    loaded = any(entry.value == PLUGIN for entry in importlib.metadata.entry_points(group="pytest11"))
    flags = ["-q", "-rs", "-p", "no:cacheprovider", *([] if loaded else ["-p", PLUGIN]), *args]
    command = [sys.executable, "-m", "pytest", *flags, str(test)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=test.parent)
    return ended.stdout.splitlines()[-1].split(" in ")[0], ended.stdout
