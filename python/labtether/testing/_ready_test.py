"""A transcript as a file for pytest that passes as it is: the conversation, and the host's side of it in the words of a
link, to be replaced by one's own driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from labtether._lines import Lines
from labtether.testing._transcript import Said, Sent, Step, Transcript

__all__ = ["ready_test"]

_TEST = '''"""{about}

Made by `labtether transcript --pytest`. Put your own driver in the place of `drive`: the test passes as long as it
sends what was sent then.
"""
{imports}
CONVERSATION = r"""
{transcript}"""


def drive(link):
{body}


def test_{name}(labsim):
    {name} = labsim.replay(CONVERSATION, pace=0)
    with {name}.link({options}).sync as link:
        drive(link)
'''


@dataclass
class _Turn:
    """What is sent, and what is said before something is sent again."""

    sent: bytes = b""
    said: list[bytes] = field(default_factory=list)


def ready_test(transcript: Transcript) -> str:
    """A test file with the conversation in it."""
    name = re.sub(r"\W+", "_", transcript.name or "instrument").strip("_").lower() or "instrument"
    name = name if name.isidentifier() else f"instrument_{name}"
    framing = _framing(transcript)
    turns = list(_turns(transcript.steps))
    lines = [line for turn in turns for line in (_in_messages(turn, framing) if framing else _raw(turn))]
    body = "\n".join(f"    {line}" for line in lines) or "    pass"
    text = str(transcript).replace('"""', r'""\x22')
    about = f"A conversation with {transcript.name or 'an instrument'}, played again."
    options = "" if framing else "framing=None"
    imports = "\nimport labtether as lt\n" if "lt." in body else ""
    return _TEST.format(about=about, imports=imports, transcript=text, body=body, name=name, options=options)


def _framing(transcript: Transcript) -> Lines | None:
    if not transcript.sent_end or not transcript.said_end:
        return None
    return Lines(transcript.said_end, send_terminator=transcript.sent_end)


def _turns(steps: tuple[Step, ...]) -> Iterator[_Turn]:
    turn = _Turn()
    for step in steps:
        if isinstance(step, Sent):
            if turn.sent or turn.said:
                yield turn
            turn = _Turn(step.data)
        elif isinstance(step, Said):
            turn.said.append(step.data)
    if turn.sent or turn.said:
        yield turn


def _raw(turn: _Turn) -> Iterator[str]:
    if turn.sent:
        yield f"link.write({turn.sent!r})"
    said = b"".join(turn.said)
    if said:
        yield f"assert link.read({len(said)}) == {said!r}"


def _in_messages(turn: _Turn, framing: Lines) -> Iterator[str]:
    end = framing.send_terminator or b""
    body = turn.sent.removesuffix(end)
    plain = turn.sent.endswith(end) and end not in body
    command = ascii(body.decode("latin-1")) if plain else f"lt.Raw({turn.sent!r})"
    messages, rest = _messages(b"".join(turn.said), framing)
    if turn.sent and len(messages) == 1 and not rest:
        yield f"assert link.query({command}) == {messages[0]!a}"
    elif not turn.said:
        yield f"link.send({command})"
    else:
        yield "with link.exchange() as talk:"
        if turn.sent:
            yield f"    talk.send({command})"
        yield from (f"    assert talk.receive() == {message!a}" for message in messages)
        if rest:
            yield f"    assert talk.read({len(rest)}) == {rest!r}"


def _messages(said: bytes, framing: Lines) -> tuple[list[str], bytes]:
    """As a link gives them; and what is no whole message."""
    buffer, messages = bytearray(said), []
    while (message := framing.take(buffer)) is not None:
        messages.append(message.decode("latin-1"))
    return messages, bytes(buffer)
