"""What notebooks ask of an object: how it looks. The pages are drawn in `_show/`, which is imported on first look."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

__all__ = ["Shown"]


class Shown:
    """An object that shows itself in notebooks."""

    __slots__ = ()

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, Any]:
        from labtether._show.bundle import bundle_of

        return bundle_of(self, include, exclude)
