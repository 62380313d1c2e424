"""The part of `labsim` that plays conversations again: replays, and cassettes in the mode of this run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labtether.testing._cassette import Cassette, CassetteOff, cassette, cassette_file
from labtether.testing._replay import ReplayedInstrument, replay
from labtether.testing._sources import Source
from labtether.testing.faults import Fault, Refuse

if TYPE_CHECKING:
    from labtether.testing._simulated import SimulatedInstrument

__all__ = ["Replaying"]


class Replaying:
    """See the module."""

    mode = "replay"
    """How cassettes are used; the option --instruments."""
    test: tuple[str | os.PathLike[str], str] | None = None
    """The test's file and its name: where its cassettes are kept."""
    passed = True
    """Whether the test has: only then a new recording takes the place of a cassette."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.instruments: list[SimulatedInstrument] = []
        self.faults = tuple(faults)
        self.cassettes: list[Cassette] = []

    def replay(
        self, source: Source, *, transport: str = "pty", faults: Sequence[Fault] = (), **options: Any
    ) -> ReplayedInstrument:
        """An instrument that plays a conversation again; see `labtether.testing.replay`. A host that sends anything
        else than was sent then, or not all of it, fails the test."""
        played = replay(source, transport=transport, faults=[*self._possible(transport), *faults], **options)
        self.instruments.append(played)
        return played

    def cassette(
        self,
        name: str,
        live: str | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        transport: str | None = None,
        pace: float = 1.0,
    ) -> Cassette:
        """An instrument that is recorded once and played back from then on, as the option `--instruments` says: replay
        (the default), record or live, which use the real one at `live`, or off, which skips the test.

        path: its recording; None: cassettes/FILE/TEST/NAME.jsonl beside the test's file. See
        `labtether.testing.cassette`. A new recording takes the place of the old one if the test passes.
        """
        if path is None:
            if self.test is None:
                raise ValueError("outside of a test a cassette needs a path")
            path = cassette_file(name, *self.test)
        try:
            made = cassette(name, live, path=path, mode=self.mode, transport=transport, pace=pace)
        except CassetteOff as off:
            import pytest

            pytest.skip(str(off))
        self.cassettes.append(made)
        if made.replayed is not None:
            self.instruments.append(made.replayed)
        return made

    def _possible(self, transport: str) -> list[Fault]:
        """The faults of every instrument that there can be on this transport."""
        return [fault for fault in self.faults if transport != "pty" or not isinstance(fault, Refuse)]

    def _eject(self, failures: list[Exception]) -> None:
        """Stop the cassettes."""
        for one in self.cassettes:
            try:
                one.stop(keep=self.passed)
            except Exception as error:
                failures.append(error)
