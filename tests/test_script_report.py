"""What went wrong, said well: what was expected beside what was heard, what would have come next, and hints."""

import time

import pytest

from labtether.testing import ScriptedInstrument, script
from support.scripts import wrong


def hear(psu: ScriptedInstrument, said: bytes) -> None:
    """Say this, and wait until it has been heard."""
    with open(psu.port, "wb", buffering=0) as port:
        port.write(said)
        give_up = time.monotonic() + 5
        while b"".join(event.data for event in psu.wire if event.direction == ">") != said:
            assert time.monotonic() < give_up
            time.sleep(0.001)


def test_expected_and_heard_are_aligned() -> None:
    with script("psu") as psu:
        for command in ["*IDN?", "VOLT 1.0", "CURR 2", "OUTP ON"]:
            psu.expect(command)
        hear(psu, b"*IDN?\nVOLT 1\nOUTP ON\nLOCAL\n")
        lines = wrong(psu).splitlines()
    assert lines[0] == "psu: 3 heard that nobody expected, 3 expected and not heard"
    start = lines.index("    expected   heard")
    assert lines[start : start + 6] == [
        "    expected   heard",
        "  = *IDN?      *IDN?",
        "  ~ VOLT 1.0   VOLT 1",
        "  - CURR 2",
        "  ~ OUTP ON    OUTP ON",
        "  +            LOCAL",
    ]


def test_what_would_have_come_next_is_named_with_its_place() -> None:
    with script("psu") as psu:
        psu.expect("A").optional()
        psu.expect("B").times(2)
        psu.expect("C")
        hear(psu, b"C\n")
        text = wrong(psu)
    assert "  when 'C' came, this was expected:\n    A (optional)   (test_script_report.py:" in text
    assert "    B (2 times)   (test_script_report.py:" in text
    assert "    C   (" not in text


def test_after_the_end_nothing_more_was_expected() -> None:
    with script("psu") as psu:
        psu.expect("A")
        hear(psu, b"A\nA\n")
        assert "  nothing more was expected when 'A' came" in wrong(psu)


@pytest.mark.parametrize(
    ("framing", "said", "hint"),
    [
        ("\r\n", b"A\n", r"the host ends its commands in '\n', and this instrument waits for '\r\n'"),
        ("\r", b"A", r"the host adds no terminator, and this instrument waits for '\r'"),
        ("\n", b"A\r", r"the host ends its commands in '\r', and this instrument waits for '\n'"),
        (">", b"A\r>", r"'A\r' is 'A' but for its end: a command ends in '>' here; only the terminator differs"),
        ("\n", b"a\n", "'a' is 'A' but for upper and lower case"),
    ],
)
def test_a_hint_where_only_the_end_differs(framing: str, said: bytes, hint: str) -> None:
    with script("psu", framing) as psu:
        psu.expect("A")
        hear(psu, said)
        assert f"hint: {hint}" in wrong(psu)


def test_a_script_that_writes_the_terminator_is_told_so() -> None:
    with script("psu") as psu:
        psu.expect("A\n")
        hear(psu, b"A\n")
        assert r"hint: the script expects 'A\n', with a terminator: the framing takes that away already" in wrong(psu)


def test_no_hint_where_there_is_none() -> None:
    with script("psu") as psu:
        psu.expect("A")
        hear(psu, b"B\n")
        assert "hint" not in wrong(psu)


def test_the_wire_is_shown_both_ways_with_times() -> None:
    with script("psu") as psu:
        psu.expect("A").reply("1\x1b")
        hear(psu, b"A\nB\n")
        lines = wrong(psu).splitlines()
    start = lines.index("the wire of psu (seconds; > heard, < said):")
    assert [line.split(maxsplit=1)[1] for line in lines[start + 1 :]] == [r"> 'A\nB\n'", r"< '1\x1b\n'"]


def test_a_long_conversation_is_shown_around_what_is_wrong() -> None:
    with script("psu") as psu:
        for number in range(500):
            psu.expect(f"C{number}")
        hear(psu, b"".join(b"C%d\n" % number for number in range(480)) + b"X\n")
        text = wrong(psu)
    assert "    ... 465 more\n" in text
    assert "  = C479" in text
    assert len(text.splitlines()) < 60


def test_a_clean_report_says_so() -> None:
    with script("psu") as psu:
        psu.expect("A")
        hear(psu, b"A\n")
        assert str(psu.report()) == "psu: as written, 1 commands"
