"""Hypothesis strategies for faults: `@given(schedules())`. They shrink to fewer faults, and each to a plain one.

Needs hypothesis, which nothing else of labtether does.
"""

from __future__ import annotations

from typing import Any

from labtether._checks import check_count, check_seconds
from labtether.testing.faults import (
    Coalesce,
    Delay,
    Disconnect,
    Drop,
    Duplicate,
    Echo,
    Fault,
    Fragment,
    Garble,
    Jitter,
    Rate,
    Refuse,
    Silence,
    Truncate,
)

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("labtether.testing.strategies needs hypothesis: pip install hypothesis") from error

__all__ = ["faults", "schedules"]

_RATES = (115_200, 57_600, 38_400, 19_200, 9_600)
_SEEDS = st.integers(0, 1_000)


def _times(longest: float) -> st.SearchStrategy[float]:
    """In steps of a hundredth of the longest, so that what is found reads well."""
    return st.integers(0, 100).map(lambda step: round(step * longest / 100, 9))


def _which() -> dict[str, st.SearchStrategy[Any]]:
    some = st.frozensets(st.integers(1, 20), min_size=1, max_size=3)
    return {"only": st.none() | some, "chance": st.sampled_from((1.0, 0.5, 0.1)), "seed": _SEEDS}


def faults(*, harmful: bool = True, longest: float = 0.02) -> st.SearchStrategy[Fault]:
    """One fault. harmful: False: only those that deliver every byte in its order. longest: the longest time of any, in
    seconds.
    """
    if not isinstance(harmful, bool):
        raise TypeError(f"harmful is a bool, not {type(harmful).__name__}")
    if not check_seconds(longest, "longest", finite=True):
        raise ValueError(f"longest is more than 0 seconds, not {longest}")
    times = _times(longest)
    sizes = st.integers(1, 8) | st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple) | st.none()
    gaps = times.filter(bool)
    kinds: list[st.SearchStrategy[Fault]] = [
        # The simplest, as it takes a single choice: it does nothing, so that what is found with it is no fault's doing.
        st.just(Delay(0)),
        st.builds(Delay, times, **_which()),
        st.builds(Jitter, times, seed=_SEEDS),
        st.builds(Fragment, sizes, gap=gaps, seed=_SEEDS),
        st.builds(Coalesce, times),
        st.builds(Rate, st.sampled_from(_RATES), bits=st.sampled_from((10, 11))),
    ]
    if harmful:
        counts = st.integers(0, 10)
        kinds += [
            st.builds(Drop, **_which()),
            st.builds(Truncate, st.integers(0, 8), **_which()),
            st.builds(Garble, st.integers(1, 4), **_which()),
            st.builds(Duplicate, st.integers(1, 3), times, **_which()),
            st.just(Echo()),
            st.builds(Silence, counts, for_messages=st.integers(1, 5) | st.none()),
            st.builds(Disconnect, counts, in_message=st.none() | counts, back=times | st.none()),
            st.builds(Refuse, st.integers(1, 3)),
        ]
    return st.one_of(kinds)


def schedules(*, max_size: int = 4, harmful: bool = True, longest: float = 0.02) -> st.SearchStrategy[list[Fault]]:
    """A list of faults, in force one after another; the empty one is the simplest. max_size: the most of them. The rest
    is as in `faults`.
    """
    return st.lists(faults(harmful=harmful, longest=longest), max_size=check_count(max_size, "max_size", least=0))
