"""The simulated devices that ship with labtether, at real places. What they do is in `src/simulate/devices`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labtether import _core
from labtether._framing import as_framing
from labtether._simulated import model_of
from labtether.testing._faulty import core_faults
from labtether.testing._simulated import SimulatedInstrument, serving

if TYPE_CHECKING:
    from labtether.testing.faults import Fault

__all__ = ["device"]


def device(
    kind: str,
    *,
    name: str | None = None,
    transport: str | None = None,
    faults: Sequence[Fault] = (),
    port: int = 0,
    **options: bool | float | str,
) -> SimulatedInstrument:
    """A simulated device, switched on: "balance", "cytomat", "lid_valet", "micro_spin", "precise_flex" or "xpeel".

    name: in what is told about it; its kind, unless given. transport: where it is, see `SimulatedInstrument`; None: as
    the real one, a pseudo-terminal for a serial line, TCP for TCP. faults: what goes wrong on the way to the host.
    port: of a network; 0: any that is free. options: what is asked of it, the same as in `sim://KIND?option=value`:
    `pace=0.01` makes every motion take a hundredth of its time.

    Raises ValueError, with what there is, for an unknown kind or option.
    """
    model = model_of(kind)
    transport = model.transport if transport is None else transport
    make = serving(_core.Simulation.device, kind, asked(options), faults=core_faults(faults, transport))
    return SimulatedInstrument(make, kind if name is None else name, transport, as_framing(model.framing()), port)


def asked(options: dict[str, bool | float | str]) -> dict[str, str]:
    """As they would stand in a URL."""
    texts: dict[str, str] = {}
    for name, value in options.items():
        if not isinstance(value, (bool, int, float, str)):
            raise TypeError(f"{name} is a number, true or false, or a str, not {type(value).__name__}")
        texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts
