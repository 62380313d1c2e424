"""Transcripts: what is written is what is read, byte for byte; what is wrong is told with its line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labtether.testing import Blank, Comment, Pause, Said, Sent, Transcript, parse_transcript, read_transcript

PSU = r"""
# A supply that is asked for its name, and slow to measure.
= name psu
= framing "\r\n"

> *IDN?
< ACME,PSU,1.0
> MEAS?
~ 300ms
    < 1.23
~ 2s
< ALARM\
< !
"""


def test_a_transcript_is_read_as_it_looks() -> None:
    assert parse_transcript(PSU) == Transcript(
        (
            Comment("A supply that is asked for its name, and slow to measure."),
            Blank(),
            Sent(b"*IDN?\r\n"),
            Said(b"ACME,PSU,1.0\r\n"),
            Sent(b"MEAS?\r\n"),
            Pause(0.3),
            Said(b"1.23\r\n"),
            Pause(2.0),
            Said(b"ALARM"),
            Said(b"!\r\n"),
        ),
        b"\r\n",
        b"\r\n",
        "psu",
    )


def test_it_is_written_as_it_was_read() -> None:
    written = str(parse_transcript(PSU))
    assert written.splitlines() == [
        "= name psu",
        r'= framing "\r\n"',
        "# A supply that is asked for its name, and slow to measure.",
        "",
        "> *IDN?",
        "< ACME,PSU,1.0",
        "> MEAS?",
        "~ 300ms",
        "< 1.23",
        "~ 2s",
        "< ALARM\\",
        "< !",
    ]
    assert parse_transcript(written) == parse_transcript(PSU)


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (r"> *IDN?\r\n", b"*IDN?\r\n"),
        (r"> \x02\x00ab\0\t\\", b"\x02\x00ab\x00\t\\"),
        (r"> \xffY\x7F", b"\xffY\x7f"),
        (">  two blanks, one of them its own", b" two blanks, one of them its own"),
        (">none", b"none"),
        (r"> a blank at its end\x20", b"a blank at its end "),
        ("> # ~ < > = are signs at the beginning only", b"# ~ < > = are signs at the beginning only"),
        ("> \\", None),
        (">", None),
    ],
)
def test_without_a_framing_what_is_written_goes_on_the_wire(line: str, data: bytes | None) -> None:
    if data is None:
        with pytest.raises(ValueError, match="nothing after it"):
            parse_transcript(line)
    else:
        assert parse_transcript(line).steps == (Sent(data),)


def test_with_a_framing_the_end_is_added_but_where_it_is_not() -> None:
    text = r"""
        = framing > "\r" < "\r\n"
        > S
        > \x1b\
        > a backslash \\
        <
        < S S
    """
    steps = parse_transcript(text).steps
    assert steps == (Sent(b"S\r"), Sent(b"\x1b"), Sent(b"a backslash \\\r"), Said(b"\r\n"), Said(b"S S\r\n"))


def test_bytes_are_written_so_that_nobody_takes_them_for_others() -> None:
    """A NUL before a digit would look like a number in octal, a blank at an end like nothing at all."""
    written = str(Transcript((Sent(b"\x001\x00a\x7f\\ "), Said(b" x"))))
    assert written == "> \\x001\\0a\\x7f\\\\\\x20\n< \\x20x\n"


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("300ms", 0.3), ("2s", 2.0), ("1.5 s", 1.5), ("1m", 60.0), ("2 min", 120.0), ("50us", 5e-5), (".5s", 0.5)],
)
def test_silences_have_units(span: str, seconds: float) -> None:
    assert parse_transcript(f"~ {span}").steps == (Pause(seconds),)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("> A\nB", 2, "a line begins with one of > < ~ # =, not 'B'"),
        ("> A\n~ soon", 2, "~ takes a time such as 300ms, 2s or 1m, not 'soon'"),
        ("~ 3", 1, "not '3'"),
        (r"> \q", 1, r"there is no '\\q'; there are"),
        (r"> \x4", 1, "there is no"),
        ("> µ", 1, r"'µ' is not ASCII: write \xb5 (latin-1) or \xc2\xb5 (UTF-8)"),
        ("> €", 1, r"write \xe2\x82\xac (UTF-8)"),
        ("> a\tb", 1, r"'\t' cannot be seen here: write \x09"),
        ("> A ", 1, r"it ends in a blank, which cannot be seen: write \x20"),
        ('> A\n= framing "\\n"', 2, "a setting comes before the conversation"),
        ("= framing \\n", 1, "framing takes an end in quotes"),
        ('= framing > "\\n"', 1, "framing takes an end in quotes"),
        ("= baud 9600", 1, "there is no setting 'baud'; there are framing and name"),
        ("= name", 1, "= name needs a name"),
        ("\n\n>", 3, "> with nothing after it"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(text: str, line: int, why: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_transcript(text, source="psu.transcript")
    assert str(error.value).startswith(f"psu.transcript:{line}: ")
    assert why in str(error.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "psu.transcript"
    file.write_bytes(PSU.replace("\n", "\r\n").encode())
    assert read_transcript(file) == parse_transcript(PSU)
    assert read_transcript(file).source == str(file)
    file.write_bytes(b"> \xff\n")
    with pytest.raises(ValueError, match=r"psu\.transcript: this is not text"):
        read_transcript(file)
    with pytest.raises(FileNotFoundError):
        read_transcript(tmp_path / "none")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pause(-1.0),
        lambda: Pause(float("inf")),
        lambda: Pause(float("nan")),
        lambda: Comment("two\nlines"),
        lambda: Transcript((Sent(b""),)),
        lambda: Transcript(name=" "),
    ],
)
def test_what_could_not_be_written_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


ends = st.sampled_from([b"", b"\n", b"\r\n", b">", b" ", b"\\", b"\xff", b'"']) | st.binary(max_size=3)
spans = st.floats(0, 1e6, allow_nan=False) | st.integers(0, 10_000).map(lambda ms: ms / 1000)
words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), max_size=12)


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    sent_end, said_end = draw(ends), draw(ends)
    data = st.binary(min_size=1, max_size=12) | st.sampled_from([b" ", b"\\", b"\n", b"a ", b" a", b"\x000", b"#"])
    framed = st.binary(max_size=8)
    steps = st.one_of(
        data.map(Sent),
        data.map(Said),
        framed.map(lambda body: Sent(body + (sent_end or b"!"))),
        framed.map(lambda body: Said(body + (said_end or b"!"))),
        spans.map(Pause),
        words.map(Comment),
    )
    name = draw(st.none() | words.filter(bool))
    return Transcript(tuple(draw(st.lists(steps, max_size=8))), sent_end, said_end, name)


@given(transcripts())
def test_any_conversation_survives_being_written(transcript: Transcript) -> None:
    text = str(transcript)
    assert parse_transcript(text) == transcript
    assert text.isascii() or transcript.name or any(isinstance(step, Comment) for step in transcript.steps)


@given(st.text(max_size=40))
def test_any_text_is_a_transcript_or_said_not_to_be(text: str) -> None:
    transcript, why = None, ""
    try:
        transcript = parse_transcript(text, source="it")
    except ValueError as error:
        why = str(error)
    assert why.startswith("it:") if transcript is None else parse_transcript(str(transcript)) == transcript
