"""Ctrl-C in the one instant that matters: an answer has been claimed, and has not reached who asked for it."""

import pytest

from support import Child, PtyInstrument, Reply, replies

CHILD = """
import asyncio, signal, sys
import labtether as lt

FUNCTION, FILE, URL = sys.argv[1:]
pressed = []

def press_ctrl_c(frame, event, called):
    # Handled at the interpreter's next check, right behind the call that returns here.
    if event != "c_return" or getattr(called, "__name__", "") != FUNCTION or pressed:
        return
    if frame.f_code.co_filename.endswith(FILE):
        pressed.append(True)
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)

async def use(link):
    async with link:
        assert await link.query("ID") == "me"
        sys.setprofile(press_ctrl_c)
        try:
            async with link.exchange() as talk:
                assert await talk.query("ID") == "me"
        finally:
            sys.setprofile(None)

async def use_again(link):
    async with link:
        return await link.query("ME", turn=1)

link = lt.link(URL)
try:
    if FILE == "_trio.py":
        import trio
        trio.run(use, link)
    else:
        loop = asyncio.new_event_loop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        task = loop.create_task(use(link))
        try:
            loop.run_until_complete(task)
        except KeyboardInterrupt:
            # Nobody's wake-up is lost: it goes on, to its end.
            loop.run_until_complete(task)
            raise
        finally:
            loop.close()
except KeyboardInterrupt:
    print("interrupted", bool(pressed), flush=True)
print(asyncio.run(use_again(link)), flush=True)
"""

# So late that who asks is waiting by then, and has to be woken.
ANSWERS: dict[bytes, Reply] = {b"ID": [(0.02, b"me\n")], b"ME": [(0.02, b"you\n")]}


@pytest.mark.parametrize("function", ["poll_in", "result"])
def test_ctrl_c_between_claim_and_return_loses_nothing_in_trio(function: str) -> None:
    with PtyInstrument(replies(ANSWERS)) as instrument, Child(CHILD, function, "_trio.py", instrument.url) as child:
        assert child.line() == "interrupted True"
        assert child.line() == "you"
        assert child.finish().stderr == ""


def test_ctrl_c_right_behind_the_list_of_wake_ups_loses_none_in_asyncio() -> None:
    with PtyInstrument(replies(ANSWERS)) as instrument, Child(CHILD, "take", "_ports.py", instrument.url) as child:
        assert child.line() == "interrupted True"
        assert child.line() == "you"
        assert child.finish().stderr == ""
