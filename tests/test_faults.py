"""Faults as values: what they accept and refuse, what they do in a rehearsal, and the strategies that make them."""

import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import find, given, settings

import labtether.testing.faults
from labtether.testing.faults import (
    ALL,
    HARMFUL,
    HARMLESS,
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
    rehearse,
    to_core,
)
from labtether.testing.strategies import faults, schedules

untyped: Any = labtether.testing.faults
untyped_faults: Any = faults


def said(*messages: str, every: float = 1.0) -> list[tuple[float, Any, bytes]]:
    """A message in each second."""
    return [(number * every, "<", message.encode()) for number, message in enumerate(messages)]


def came(fault: Fault, *messages: str) -> str:
    """What comes, without its times."""
    return "|".join(
        what if isinstance(what, str) else what.decode("latin-1") for _, what in rehearse([fault], said(*messages))
    )


# -- What they are -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Delay(0.5), "Delay(seconds=0.5)"),
        (Delay(1, only={3, 1}, seed=7), "Delay(seconds=1.0, only=(1, 3), seed=7)"),
        (Jitter(0.5), "Jitter(seconds=0.5)"),
        (Rate(9600), "Rate(baudrate=9600)"),
        (Rate(9600, bits=11), "Rate(baudrate=9600, bits=11)"),
        (Fragment(), "Fragment()"),
        (Fragment([1, 2], gap=1), "Fragment(sizes=(1, 2), gap=1.0)"),
        (Coalesce(0.5), "Coalesce(seconds=0.5)"),
        (Drop(chance=0.25), "Drop(chance=0.25)"),
        (Garble(3), "Garble(flips=3)"),
        (Duplicate(2, gap=0.5), "Duplicate(times=2, gap=0.5)"),
        (Echo(), "Echo()"),
        (Truncate(keep=2), "Truncate(keep=2)"),
        (Silence(1, for_messages=2), "Silence(after=1, for_messages=2)"),
        (Disconnect(in_message=2, back=1), "Disconnect(in_message=2, back=1.0)"),
        (Refuse(), "Refuse()"),
    ],
)
def test_a_fault_is_a_value_that_reads_as_it_is_written(fault: Fault, shown: str) -> None:
    assert repr(fault) == shown
    again = eval(shown)
    assert again == fault
    assert hash(again) == hash(fault)
    assert pickle.loads(pickle.dumps(fault)) == copy.deepcopy(fault) == fault
    assert len(to_core([fault])) == 1


def test_faults_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Delay(0.5).seconds = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: untyped.Delay(-1), ValueError, "seconds is not negative: -1"),
        (lambda: untyped.Delay(float("inf")), ValueError, "seconds is finite: inf"),
        (lambda: untyped.Delay(float("nan")), ValueError, "seconds is not negative: nan"),
        (lambda: untyped.Delay("1"), TypeError, "seconds is a number of seconds, not str"),
        (lambda: untyped.Delay(None), TypeError, "seconds is a number of seconds, not None"),
        (lambda: untyped.Delay(1, only="1"), TypeError, r"only is a set of message numbers, such as \{1, 3\}, not str"),
        (lambda: untyped.Delay(1, only=3), TypeError, "only is a set of message numbers, .*, not int"),
        (lambda: untyped.Delay(1, only=[0]), ValueError, "each of only is at least 1, not 0"),
        (lambda: untyped.Delay(1, only=[1.5]), TypeError, "each of only is an int, not float"),
        (lambda: untyped.Delay(1, chance=1.5), ValueError, "chance is from 0 to 1, not 1.5"),
        (lambda: untyped.Delay(1, chance=float("nan")), ValueError, "chance is from 0 to 1, not nan"),
        (lambda: untyped.Delay(1, chance=True), TypeError, "chance is a number from 0 to 1, not bool"),
        (lambda: untyped.Delay(1, seed=-1), ValueError, "seed is at least 0, not -1"),
        (lambda: untyped.Delay(1, seed=1 << 64), ValueError, "seed has at most 64 bits, not 65"),
        (lambda: untyped.Delay(1, seed=0.5), TypeError, "seed is an int, not float"),
        (lambda: untyped.Jitter(-1), ValueError, "seconds is not negative"),
        (lambda: untyped.Jitter(1, seed=-1), ValueError, "seed is at least 0"),
        (lambda: untyped.Rate(0), ValueError, "baudrate is at least 1, not 0"),
        (lambda: untyped.Rate(9600.0), TypeError, "baudrate is an int, not float"),
        (lambda: untyped.Rate(1 << 32), ValueError, "baudrate is at most 4294967295"),
        (lambda: untyped.Rate(9600, bits=0), ValueError, "bits is at least 1, not 0"),
        (lambda: untyped.Rate(9600, bits=21), ValueError, "bits is at most 20, not 21"),
        (lambda: untyped.Fragment(0), ValueError, "sizes is at least 1, not 0"),
        (lambda: untyped.Fragment([1, 0]), ValueError, "each of sizes is at least 1, not 0"),
        (lambda: untyped.Fragment("12"), TypeError, "sizes is an int or a list of them, not str"),
        (lambda: untyped.Fragment(1.5), TypeError, "sizes is an int, not float"),
        (lambda: untyped.Fragment(gap=0), ValueError, "gap is more than 0"),
        (lambda: untyped.Fragment(gap=-1), ValueError, "gap is not negative"),
        (lambda: untyped.Fragment(seed=-1), ValueError, "seed is at least 0"),
        (lambda: untyped.Coalesce(-1), ValueError, "seconds is not negative"),
        (lambda: untyped.Coalesce(None), TypeError, "not None"),
        (lambda: untyped.Drop(chance=-0.1), ValueError, "chance is from 0 to 1"),
        (lambda: untyped.Drop(0.5), TypeError, "positional argument"),
        (lambda: untyped.Garble(0), ValueError, "flips is at least 1, not 0"),
        (lambda: untyped.Garble(1, seed="1"), TypeError, "seed is an int, not str"),
        (lambda: untyped.Duplicate(0), ValueError, "times is at least 1, not 0"),
        (lambda: untyped.Duplicate(1_001), ValueError, "times is at most 1000, not 1001"),
        (lambda: untyped.Duplicate(gap=-1), ValueError, "gap is not negative"),
        (lambda: untyped.Truncate(-1), ValueError, "keep is at least 0, not -1"),
        (lambda: untyped.Truncate(), TypeError, "keep"),
        (lambda: untyped.Silence(-1), ValueError, "after is at least 0, not -1"),
        (lambda: untyped.Silence(for_messages=0), ValueError, "for_messages is at least 1, not 0"),
        (lambda: untyped.Disconnect(-1), ValueError, "after is at least 0, not -1"),
        (lambda: untyped.Disconnect(in_message=-1), ValueError, "in_message is at least 0, not -1"),
        (lambda: untyped.Disconnect(in_message=True), TypeError, "in_message is an int, not bool"),
        (lambda: untyped.Disconnect(back=-1), ValueError, "back is not negative"),
        (lambda: untyped.Disconnect(back="soon"), TypeError, "back is a number of seconds, not str"),
        (lambda: untyped.Refuse(0), ValueError, "times is at least 1, not 0"),
        (lambda: untyped.to_core(Delay(1)), TypeError, r"faults is a list: \[Delay\(seconds=1.0\)\]"),
        (lambda: untyped.to_core(None), TypeError, "faults is a list of faults, not NoneType"),
        (lambda: untyped.to_core([Echo]), TypeError, r"did you mean Echo\(...\)\?"),
        (lambda: untyped.to_core(["echo"]), TypeError, "a fault is one of labtether.testing.faults, not 'echo'"),
        (lambda: untyped.rehearse([], [(0.0, "!", b"")]), ValueError, "the direction is '<' or '>', not '!'"),
        (lambda: untyped.rehearse([], [(0.0, "<", "text")]), TypeError, "what is said is bytes, not str"),
        (
            lambda: untyped.rehearse([], [(1.0, "<", b"a"), (0.5, "<", b"b")]),
            ValueError,
            "times never go back: 0.5 after 1.0",
        ),
        (lambda: untyped_faults(harmful=1), TypeError, "harmful is a bool, not int"),
        (lambda: faults(longest=0), ValueError, "longest is more than 0 seconds, not 0"),
        (lambda: schedules(max_size=-1), ValueError, "max_size is at least 0, not -1"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


# -- What they do (tests/faults.rs says exactly) -----------------------------------------------------------------------


def test_every_value_of_every_fault_reaches_the_wire() -> None:
    one_two = said("one\n", "two\n")
    assert rehearse([Delay(0.5, only=[2])], one_two) == [(0.0, b"one\n"), (1.5, b"two\n")]
    assert all(0 < at - number < 0.5 for number, (at, _) in enumerate(rehearse([Jitter(0.5, seed=3)], one_two)))
    assert rehearse([Rate(10, bits=5)], said("ab")) == [(0.5, b"a"), (1.0, b"b")]
    assert rehearse([Fragment(2, gap=0.25)], said("one\n")) == [(0.0, b"on"), (0.25, b"e\n")]
    assert came(Fragment([1, 2]), "abcdef") == "a|bc|def"
    assert len(came(Fragment(seed=1), "abcdefgh").split("|")) > 1
    assert rehearse([Coalesce(2)], one_two) == [(2.0, b"one\n"), (2.0, b"two\n")]
    assert came(Drop(only=[2, 3]), "one", "two", "three", "four") == "one|four"
    assert sum(a != b for a, b in zip(rehearse([Garble(2)], said("abcdef"))[0][1], b"abcdef", strict=True)) == 2
    assert rehearse([Duplicate(2, gap=0.25)], said("one")) == [(0.0, b"one"), (0.25, b"one"), (0.5, b"one")]
    assert rehearse([Echo()], [(0.0, ">", b"S\n"), (1.0, "<", b"5\n")]) == [(0.0, b"S\n"), (1.0, b"5\n")]
    assert came(Truncate(2, only=[1]), "one", "two") == "on|two"
    assert came(Silence(1, for_messages=1), "one", "two", "three") == "one|three"
    assert came(Silence(1), "one", "two", "three") == "one"
    assert rehearse([Disconnect(1, in_message=2, back=0.5)], one_two) == [
        (0.0, b"one\n"),
        (1.0, b"tw"),
        (1.0, "disconnect"),
        (1.5, "reconnect"),
    ]
    assert came(Disconnect(1), "one", "two") == "one|disconnect|two"
    assert came(Refuse(), "one") == "one"


@pytest.mark.parametrize("fault", [Drop, Garble, Duplicate, lambda **which: Truncate(1, **which)])
def test_the_same_seed_is_the_same_damage_and_another_is_another(fault: Any) -> None:
    messages = [f"reply {number}\n" for number in range(40)]
    assert came(fault(chance=0.5, seed=1), *messages) == came(fault(chance=0.5, seed=1), *messages)
    assert came(fault(chance=0.5, seed=1), *messages) != came(fault(chance=0.5, seed=2), *messages)
    assert came(fault(chance=0.0), *messages) == "|".join(messages)


@pytest.mark.parametrize("fault", [Jitter(0.5, seed=1), Fragment(seed=1)])
def test_seeds_of_times_and_pieces(fault: Any) -> None:
    messages = said(*[f"reply {number}\n" for number in range(40)])
    other = type(fault)(*([fault.seconds] if isinstance(fault, Jitter) else []), seed=2)
    assert rehearse([fault], messages) == rehearse([fault], messages) != rehearse([other], messages)


def test_the_harmless_deliver_every_byte_and_the_harmful_strike_the_first_messages() -> None:
    messages = [f"reply {number}\n" for number in range(8)]
    whole = "".join(messages)
    for fault in HARMLESS:
        assert came(fault, *messages).replace("|", "") == whole
        assert rehearse([fault], said(*messages)) != [(float(n), m.encode()) for n, m in enumerate(messages)]
    for fault in HARMFUL:
        if isinstance(fault, (Drop, Garble, Duplicate, Truncate)):
            assert not came(fault, *messages).startswith(messages[0] + "|" + messages[1])
            assert any(message in came(fault, *messages) for message in messages)
    assert ALL == HARMLESS + HARMFUL
    kinds = {type(fault) for fault in ALL}
    assert kinds == {*Fault.__subclasses__(), *Drop.__mro__[1].__subclasses__()} - {Drop.__mro__[1]}


# -- Strategies --------------------------------------------------------------------------------------------------------


def simplest(strategy: Any, wanted: Callable[[Any], bool]) -> Any:
    """The simplest of those that are wanted."""
    return find(strategy, wanted, settings=settings(derandomize=True, database=None, max_examples=500))


def test_what_is_found_shrinks_to_something_simple() -> None:
    assert simplest(faults(), lambda fault: True) == Delay(0)
    assert simplest(schedules(), lambda faults: True) == []
    assert simplest(schedules(), lambda faults: len(faults) > 1) == [Delay(0), Delay(0)]
    assert simplest(schedules(), lambda faults: any(isinstance(fault, Drop) for fault in faults)) == [Drop()]
    assert simplest(faults(), lambda fault: isinstance(fault, Disconnect)) == Disconnect()
    assert simplest(faults(), lambda fault: isinstance(fault, Fragment)) == Fragment(gap=0.0002)


@pytest.mark.parametrize(("harmful", "expected"), [(True, ALL), (False, HARMLESS)], ids=["harmful", "harmless"])
def test_every_kind_of_fault_is_found_and_harm_only_where_it_is_wanted(
    harmful: bool, expected: tuple[Fault, ...]
) -> None:
    found = set()

    @given(faults(harmful=harmful))
    @settings(max_examples=300, derandomize=True, database=None)
    def collect(fault: Fault) -> None:
        found.add(type(fault))

    collect()
    assert found == {type(fault) for fault in expected}


@given(schedules(max_size=3, harmful=False, longest=0.5))
@settings(deadline=None, derandomize=True)
def test_what_is_harmless_delivers_every_byte_in_its_order(schedule: list[Fault]) -> None:
    messages = [f"reply {number}\n" for number in range(5)]
    assert len(schedule) <= 3
    wire = rehearse(schedule, said(*messages, every=0.01))
    assert b"".join(piece for _, piece in wire if isinstance(piece, bytes)) == "".join(messages).encode()


@given(schedules())
@settings(deadline=None, derandomize=True)
def test_every_schedule_can_be_put_in_force(schedule: list[Fault]) -> None:
    assert len(to_core(schedule)) == len(schedule) <= 4
    assert eval(repr(schedule)) == schedule


def test_without_hypothesis_only_the_strategies_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "labtether.testing.strategies")
    with pytest.raises(ImportError, match="needs hypothesis: pip install hypothesis"):
        import labtether.testing.strategies  # noqa: F401
