"""The trace of a link: a list of its last events that reads well when it is printed or shown."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import SupportsIndex, overload

from labtether._escapes import escaped
from labtether._shown import Shown
from labtether._values import TraceEvent

__all__ = ["Trace", "moment"]


class Trace(Shown, list[TraceEvent]):
    """The last events of a link, from `link.trace()`: a list, oldest first. `print` it for one line an event: the time
    of day, `>` to the instrument, `<` from it, `!` what happened to the link, and the bytes with `\\r`, `\\n` and the
    like written out. A slice is a trace too."""

    __slots__ = ("of",)

    of: str
    """The link's name."""

    def __init__(self, events: Iterable[TraceEvent] = (), of: str = "") -> None:
        super().__init__(events)
        self.of = of

    @overload
    def __getitem__(self, place: SupportsIndex) -> TraceEvent: ...
    @overload
    def __getitem__(self, place: slice) -> Trace: ...
    def __getitem__(self, place: SupportsIndex | slice) -> TraceEvent | Trace:
        if isinstance(place, slice):
            return Trace(super().__getitem__(place), self.of)
        return super().__getitem__(place)

    def __str__(self) -> str:
        return "\n".join(
            " ".join(part for part in (moment(one.time), one.direction, escaped(one.data), one.note) if part)
            for one in self
        )


def moment(epoch: float) -> str:
    """The local time of day, to the millisecond."""
    thousandths = round(epoch * 1000)
    return f"{time.strftime('%H:%M:%S', time.localtime(thousandths // 1000))}.{thousandths % 1000:03d}"
