"""A row's figures, printed and as data."""

from __future__ import annotations

from typing import Any

from rounds import Measured
from row import Row


def table(row: Row, measured: Measured) -> dict[str, Any]:
    """Print the row; the same as data."""
    base = row.subjects[0].name
    lines: list[list[str]] = []
    data: dict[str, Any] = {}
    for subject in row.subjects:
        name = subject.name
        if not measured.samples.get(name):
            continue
        cells, data[name] = figures(row, measured, name, base)
        if not lines:
            lines.append(["", *cells, "reach"])
        lines.append([name, *cells.values(), subject.reach])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    for line in lines:
        cut = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cut).rstrip())
    pairs = {}
    for one, other, reach in row.against:
        ratio = ratio_of(row, measured, one, other)
        if ratio is not None:
            pairs[f"{one} / {other}"] = ratio
            print(f"  {one} / {other}: {ratio:.2f}" + (f" (reach {reach})" if reach else ""))
    return {"subjects": data, "pairs": pairs}


def ratio_of(row: Row, measured: Measured, one: str, other: str) -> float | None:
    """Of their times; `by_rate`, of what they do in a second."""
    return measured.ratio(other, one) if row.by_rate else measured.ratio(one, other)


def figures(row: Row, measured: Measured, name: str, base: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A subject's cells by the heads of their columns, and the same as data."""
    median, p99 = measured.median(name), measured.percentile(name, 99)
    data: dict[str, Any] = {"median_us": median / 1000, "p99_us": p99 / 1000}
    cells: dict[str, str] = {}
    if row.late is not None:
        gaps = measured.times(name)
        data["late"] = sum(gap > row.late * 1e9 for gap in gaps) / len(gaps)
        data["worst_us"] = gaps[-1] / 1000
        cells = {"late": f"{data['late']:.1%}", "median ms": f"{median / 1e6:.1f}", "worst ms": f"{gaps[-1] / 1e6:.1f}"}
    else:
        ratio = data["ratio"] = ratio_of(row, measured, name, base)
        cells[f"x {base.split(':')[0]}"] = "" if ratio is None else f"{ratio:.2f}"
        if row.by_rate or row.unit in ("message", "item"):
            data["per_second"] = 1e9 * measured.samples[name][0].done / median
            cells["k/s"] = f"{data['per_second'] / 1000:.{1 if row.by_rate else 0}f}"
        else:
            cells |= {"median us": f"{median / 1000:.1f}", "p99 us": f"{p99 / 1000:.1f}"}
    if row.cpu_per:
        data["cpu_s"] = measured.cpu(name) * row.cpu_per / 1e9
        cells[f"CPU s / {row.cpu_per:,}".replace(",", " ")] = f"{data['cpu_s']:.2f}"
    data["round_medians_us"] = [sample.median / 1000 for sample in measured.samples[name]]
    return cells, data
