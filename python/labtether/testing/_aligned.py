"""What was expected beside what was heard, aligned as Needleman and Wunsch align sequences: what matches stands side by
side, what is nearly the same too, what is missing or too much stands alone."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "aligned"]

NEAR = 0.6
"""From this much of likeness (of difflib's ratio) two commands stand side by side although they differ."""

MOST = 200
"""So many are aligned: the work grows with the square."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line. sign: "=" as expected, "~" nearly, "-" expected and not heard, "+" heard and not expected."""

    sign: str
    expected: str
    heard: str


def aligned(wanted: Sequence[int], heard: Sequence[Any], steps: Sequence[Any]) -> list[Row]:
    """Rows for the steps that were `wanted`, in order, and the commands that were `heard`. Of a long conversation, what
    is around the first difference."""
    same = 0
    while same < min(len(wanted), len(heard)) and heard[same].step == wanted[same]:
        same += 1
    told = [
        Row("=", str(steps[step].command), _text(one.command))
        for step, one in zip(wanted[:same], heard[:same], strict=True)
    ]
    wanted, heard = wanted[same : same + MOST], heard[same : same + MOST]
    rows, columns = len(wanted), len(heard)
    score = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            beside = _likeness(wanted[i], heard[j], steps)
            together = beside + score[i + 1][j + 1] if beside else 0.0
            score[i][j] = max(together, score[i + 1][j], score[i][j + 1])
    i = j = 0
    while i < rows or j < columns:
        if i < rows and j < columns:
            beside = _likeness(wanted[i], heard[j], steps)
            if beside and score[i][j] == beside + score[i + 1][j + 1]:
                sign = "=" if heard[j].step == wanted[i] else "~"
                told.append(Row(sign, str(steps[wanted[i]].command), _text(heard[j].command)))
                i, j = i + 1, j + 1
                continue
        if i < rows and (j == columns or score[i][j] == score[i + 1][j]):
            told.append(Row("-", str(steps[wanted[i]].command), ""))
            i += 1
        else:
            told.append(Row("+", "", _text(heard[j].command)))
            j += 1
    return told


def _likeness(step: int, heard: Any, steps: Sequence[Any]) -> float:
    if heard.step == step:
        return 2.0
    if heard.step is not None:
        return 0.0
    ratio = difflib.SequenceMatcher(None, steps[step].command, heard.command.decode("latin-1")).ratio()
    return ratio if ratio >= NEAR else 0.0


def _text(command: bytes) -> str:
    return repr(command.decode("latin-1"))[1:-1]
