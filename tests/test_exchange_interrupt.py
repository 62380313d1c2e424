"""Ctrl-C in the blocking face: the instrument is told to stop, however often it comes, and the link is in step."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

import labtether as lt
from labtether._blocking import SyncLink
from support.exchanges import BRIEF, FAR, HALTED, PtyMachine, effects_in, until_sync

Call = Callable[[SyncLink[str]], object]


def query(link: SyncLink[str]) -> object:
    return link.query("MOVE", timeout=FAR, abort=HALTED)


def query_to_its_end(link: SyncLink[str]) -> object:
    return link.query("MOVE", timeout=FAR, on_cancel="finish")


def query_all(link: SyncLink[str]) -> object:
    return link.query_all("ACK", until="^done", timeout=FAR, abort=HALTED)


def wait_until(link: SyncLink[str]) -> object:
    return link.wait_until("MOVE", bool, timeout=FAR, abort=HALTED)


def receive(link: SyncLink[str]) -> object:
    with link.exchange(timeout=FAR, abort=HALTED) as talk:
        talk.send("MOVE")
        return talk.receive()


def read(link: SyncLink[str]) -> object:
    with link.exchange(timeout=FAR, abort=HALTED) as talk:
        talk.send("MOVE")
        return talk.read(100)


def iterate(link: SyncLink[str]) -> object:
    with link.exchange(timeout=FAR, abort=HALTED) as talk:
        talk.send("ACK")
        return list(talk)


def sleep(link: SyncLink[str]) -> object:
    with link.exchange(timeout=FAR, abort=HALTED) as talk:
        talk.send("MOVE")
        time.sleep(FAR)
    return None


CALLS: list[Call] = [query, query_to_its_end, query_all, wait_until, receive, read, iterate, sleep]


class Interrupts:
    """Ctrl-C from another thread: once the instrument has heard the command, and so many times more once it was told
    to stop. The instrument obeys after the last."""

    def __init__(self, machine: PtyMachine, more: int) -> None:
        self.machine, self.more = machine, more
        self.count = 0
        self._thread = threading.Thread(target=self._run, name="test interrupts")
        self._main = threading.get_ident()

    def during(self, call: Callable[[], object]) -> list[BaseException]:
        """Interrupt `call`; what came out, and what came after that."""
        before = signal.signal(signal.SIGINT, self._interrupted)
        caught: list[BaseException] = []

        def guarded(depth: int) -> None:
            # The last ones may come anywhere, in one of these handlers too: there are more of them than interrupts.
            try:
                if depth:
                    guarded(depth - 1)
                else:
                    self._thread.start()
                    call()
                self._thread.join()
            except KeyboardInterrupt as interrupt:
                caught.append(interrupt)
                self._thread.join()

        guarded(self.more + 2)
        self._thread.join()
        signal.signal(signal.SIGINT, before)
        return caught

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        raise KeyboardInterrupt(f"{self.count}")

    def _run(self) -> None:
        machine = self.machine
        until_sync(lambda: machine.heard)
        signal.pthread_kill(self._main, signal.SIGINT)
        if machine.manner == "held":
            until_sync(lambda: machine.halts)
            for _ in range(self.more):
                signal.pthread_kill(self._main, signal.SIGINT)
            machine.let_through()
        else:
            until_sync(lambda: self.count)
            machine.finish()


@pytest.mark.parametrize("more", [0, 1, 3], ids=["once", "twice", "four times"])
@pytest.mark.parametrize("call", CALLS)
def test_a_blocking_call_is_interrupted_and_the_instrument_stopped(call: Call, more: int) -> None:
    finishes = call is query_to_its_end
    with PtyMachine("deaf" if finishes else "held") as machine:
        with lt.serial(machine.port, **BRIEF).sync as link:
            caught = Interrupts(machine, more).during(lambda: call(link))
            assert caught
            assert machine.halts == (not finishes)
            if not more:
                effect = "ran_to_completion" if finishes else "halted"
                assert effects_in(caught[0])[-1] == effect, getattr(caught[0], "__notes__", None)
            for number in range(2):
                assert link.query(f"ASK {number}") == f"re ASK {number}"
            assert link.state == "open"
        assert machine.halts == (not finishes)


@pytest.fixture
def ring() -> Iterator[Callable[[], None]]:
    """Ctrl-C for this thread, at once, from another."""
    main = threading.get_ident()
    threads: list[threading.Thread] = []

    def interrupt() -> None:
        thread = threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGINT))
        threads.append(thread)
        thread.start()

    yield interrupt
    for thread in threads:
        thread.join()


def test_an_interrupt_between_two_waits_aborts_the_exchange(ring: Callable[[], None]) -> None:
    with PtyMachine() as machine:
        with lt.serial(machine.port, **BRIEF).sync as link:
            with pytest.raises(KeyboardInterrupt):
                with link.exchange(timeout=FAR, abort=HALTED) as talk:
                    talk.send("ACK")
                    assert talk.receive() == "ack"
                    ring()
                    while True:
                        time.sleep(0.001)
            assert talk.effect == "halted"
            assert machine.halts == 1
            assert link.query("ASK") == "re ASK"
