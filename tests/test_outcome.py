"""Outcomes as values: `Ok`, `Failed`, `Cancelled`; `match`, `unwrap`, equality."""

import dataclasses
import pickle

import anyio
import pytest

import labtether as lt


def described(outcome: lt.Outcome[int]) -> str:
    match outcome:
        case lt.Ok(value):
            return f"ok {value}"
        case lt.Failed(ValueError() as error):
            return f"value error {error}"
        case lt.Failed(error):
            return f"failed {error!r}"
        case lt.Cancelled(reason, effects):
            return f"cancelled {reason} {len(effects)}"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (lt.Ok(5), "ok 5"),
        (lt.Failed(ValueError("bad")), "value error bad"),
        (lt.Failed(KeyError("k")), "failed KeyError('k')"),
        (lt.Cancelled("why"), "cancelled why 0"),
        (lt.Cancelled("why", (("oven", b"S", "halted"),)), "cancelled why 1"),
    ],
)
def test_match_takes_them_apart(outcome: lt.Outcome[int], words: str) -> None:
    assert described(outcome) == words


def test_unwrap_gives_the_value_or_raises() -> None:
    assert lt.Ok(None).unwrap() is None
    error = ValueError("bad")
    with pytest.raises(ValueError, match="bad") as raised:
        lt.Failed(error).unwrap()
    assert raised.value is error
    with pytest.raises(anyio.TaskCancelled, match="the lid is open"):
        lt.Cancelled("the lid is open").unwrap()


def test_the_time_does_not_make_them_different() -> None:
    assert lt.Ok(5, elapsed=1.0) == lt.Ok(5, elapsed=2.0)
    assert lt.Ok(5) != lt.Ok(6)
    assert lt.Cancelled("a", elapsed=1.0) == lt.Cancelled("a")
    assert lt.Cancelled("a") != lt.Cancelled("b")
    assert lt.Failed(error := OSError()) == lt.Failed(error)
    assert lt.Ok(5, elapsed=1.5).elapsed == 1.5


def test_they_do_not_change() -> None:
    for outcome, field in ((lt.Ok(5), "value"), (lt.Failed(OSError()), "error"), (lt.Cancelled(), "reason")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(outcome, field, 6)


def test_they_go_through_pickle() -> None:
    for outcome in (lt.Ok(5, elapsed=1.0), lt.Cancelled("why", (("oven", None, "halted"),))):
        copy = pickle.loads(pickle.dumps(outcome))
        assert copy == outcome
        assert copy.elapsed == outcome.elapsed


@pytest.mark.parametrize(
    ("effects", "gravest"),
    [
        ([], "never_started"),
        (["never_started", "ran_to_completion"], "ran_to_completion"),
        (["halted_at_boundary", "ran_to_completion"], "halted_at_boundary"),
        (["halted", "halted_at_boundary"], "halted"),
        (["unconfirmed", "halted", "never_started"], "unconfirmed"),
    ],
)
def test_the_effect_to_act_on_is_the_least_certain(effects: list[str], gravest: str) -> None:
    assert lt.Cancelled("why", tuple(("oven", None, effect) for effect in effects)).effect == gravest
