"""Prints what pyproject.toml asks for: run-time dependencies, the named extras, and for `build` the build system's."""

import sys
import tomllib
from pathlib import Path

asked = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text("utf-8"))
extras: dict[str, list[str]] = asked["project"]["optional-dependencies"]
extras["build"] = asked["build-system"]["requires"]
wanted = [*asked["project"]["dependencies"], *(line for name in sys.argv[1:] for line in extras[name])]
print(*dict.fromkeys(wanted), sep="\n")
