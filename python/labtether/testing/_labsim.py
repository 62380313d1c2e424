"""What the fixture `labsim` is: makes simulated instruments for one test, and says at its end how it went."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from labtether._framing import FramingLike
from labtether._simulated import model_of
from labtether._values import Raw
from labtether.testing import faults as all_faults
from labtether.testing._device import device
from labtether.testing._replay import ReplayedInstrument
from labtether.testing._replaying import Replaying
from labtether.testing._report import wire_log
from labtether.testing._script import ScriptedInstrument, script
from labtether.testing._simulated import SimulatedInstrument
from labtether.testing.faults import Fault

__all__ = ["Labsim"]

_HARMLESS = tuple({type(fault) for fault in all_faults.HARMLESS})

I = TypeVar("I", bound=SimulatedInstrument)  # noqa: E741


class Labsim(Replaying):
    """Simulated instruments of one test. All are switched off at its end, and each script is checked."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        """faults: those of every instrument, before its own. Where one of them loses something, no script is checked:
        it is for the test to say what has to hold."""
        super().__init__(faults)
        self._checks = all(isinstance(fault, _HARMLESS) for fault in self.faults)

    def script(
        self,
        name: str = "instrument",
        framing: FramingLike | None = "\n",
        *,
        transport: str = "pty",
        faults: Sequence[Fault] = (),
        greeting: str | bytes | Raw | None = None,
        port: int = 0,
    ) -> ScriptedInstrument:
        """An instrument that follows a script; see `labtether.testing.script`. What is expected of it and does not
        come, comes and is not expected, or is said and not read, fails the test."""
        faults = [*self._possible(transport), *faults]
        return self._added(script(name, framing, transport=transport, faults=faults, greeting=greeting, port=port))

    def device(
        self,
        kind: str,
        *,
        name: str | None = None,
        transport: str | None = None,
        faults: Sequence[Fault] = (),
        port: int = 0,
        **options: bool | float | str,
    ) -> SimulatedInstrument:
        """One of the simulated devices that there are; see `labtether.testing.device`."""
        faults = [*self._possible(transport or model_of(kind).transport), *faults]
        return self._added(device(kind, name=name, transport=transport, faults=faults, port=port, **options))

    def _added(self, instrument: I) -> I:
        self.instruments.append(instrument)
        return instrument

    def everywhere(
        self, run: Callable[[Labsim], Any], faults: Iterable[Fault] = all_faults.ALL
    ) -> Awaitable[None] | None:
        """Call `run` with a labsim of its own once without a fault and once under each of `faults`, whose seeds are
        fixed; if it is `async`, await this. Under faults that lose nothing each script is checked, too; under the
        others it is for `run` to say what has to hold. Refuse strikes networks and memory only.

        Raises an ExceptionGroup of all that failed, each with a note of the fault.
        """
        if not callable(run):
            raise TypeError(f"everywhere takes a function of a labsim, not {type(run).__name__}")
        chosen: list[Fault | None] = [None, *faults]
        if inspect.iscoroutinefunction(run):
            return self._awaited(run, chosen)
        failures: list[Exception] = []
        for fault in chosen:
            with _Under(fault, failures) as under:
                run(under)
        _raise(failures, len(chosen))
        return None

    async def _awaited(self, run: Callable[[Labsim], Awaitable[Any]], chosen: list[Fault | None]) -> None:
        failures: list[Exception] = []
        for fault in chosen:
            with _Under(fault, failures) as under:
                await run(under)
        _raise(failures, len(chosen))

    def check(self) -> None:
        """Raise AssertionError unless every conversation went as its script has it."""
        wrong: list[AssertionError] = []
        for instrument in self.instruments if self._checks else ():
            if isinstance(instrument, (ScriptedInstrument, ReplayedInstrument)):
                try:
                    instrument.check()
                except AssertionError as error:
                    wrong.append(error)
        if len(wrong) == 1:
            raise wrong[0]
        if wrong:
            raise AssertionError("\n\n".join(str(error) for error in wrong))

    def wire_logs(self) -> list[tuple[str, str]]:
        """What went over each wire: its name, and the last of it in lines."""
        return [(one.name, "\n".join(wire_log(one.wire, f"the wire of {one.name}"))) for one in self.instruments]

    def stop(self) -> None:
        """Switch all off, whatever happens to some."""
        failures: list[Exception] = []
        self._eject(failures)
        for instrument in reversed(self.instruments):
            try:
                instrument.stop()
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("simulated instruments did not stop", failures)

    def __repr__(self) -> str:
        under = f" under {', '.join(map(repr, self.faults))}" if self.faults else ""
        return f"<labsim with {len(self.instruments)} instruments{under}>"


class _Under:
    """A labsim under one fault, checked where nothing is lost; keeps what failed."""

    def __init__(self, fault: Fault | None, failures: list[Exception]) -> None:
        self._fault = fault
        self._failures = failures
        self._labsim = Labsim(() if fault is None else (fault,))

    def __enter__(self) -> Labsim:
        return self._labsim

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        try:
            if error is None:
                self._labsim.check()
        except AssertionError as mismatch:
            error = mismatch
        finally:
            self._labsim.stop()
        if error is None:
            return True
        error.add_note(f"under {self._fault!r}" if self._fault is not None else "without a fault")
        if isinstance(error, Exception):
            self._failures.append(error)
            return True
        return False


def _raise(failures: list[Exception], count: int) -> None:
    if failures:
        raise ExceptionGroup(f"failed {len(failures)} times of {count}, under one fault each", failures)
