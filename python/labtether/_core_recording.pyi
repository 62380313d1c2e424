# The part of `labtether._core` for recordings of links. There is no such module: `_core.pyi` takes it in.
from typing import final

from labtether._core import Wire

__all__ = ["Recording", "record"]

@final
class Recording:
    def stop(self) -> None: ...
    def tally(self) -> tuple[str, int, int, int]: ...
    def failed(self) -> tuple[int | None, str] | None: ...

def record(wire: Wire, path: str, header: str) -> Recording: ...
