"""The lifecycle as users see it: `lt.lifecycle`."""

from __future__ import annotations

from typing import final

from labtether._shown import Shown
from labtether._tree import Tree, lifecycle_tree

__all__ = ["Lifecycle", "lifecycle"]


@final
class Lifecycle(Shown):
    """The hidden root of everything that is set up. There is one: `lt.lifecycle`."""

    __slots__ = ()

    def tree(self) -> Tree:
        """Everything that is alive: nurseries, tasks that say what they do, links, threads, locks that are held."""
        return lifecycle_tree()

    def __repr__(self) -> str:
        return f"<lifecycle: {len(self.tree().children)} alive>"


lifecycle = Lifecycle()
