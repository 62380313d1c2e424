"""The rows of what Rust does beside Python: many links at once, polls, ids in flight, keep-alives."""

from __future__ import annotations

from row import FAST, SERIAL, TRIO, UVLOOP, Row, Subject

LIMIT_OF_MANY = Subject("limit: epoll loop in C", None)
ON_ASYNCIO, ON_UVLOOP, ON_TRIO = "labtether, asyncio", "labtether, uvloop", "labtether, trio"
STREAMS, FAST_STREAMS = "asyncio streams", "pyserial-asyncio-fast"
WHERE = {"tcp": "over TCP (loopback)", "pty": "over ptys"}


def rows_apart() -> list[Row]:
    """All of them, in the order in which they are run."""
    return [*links(), *polls(), *ids(), *keepalives()]


def streams(line: str, what: str) -> tuple[Subject, ...]:
    """asyncio's streams over `line`, on asyncio and on uvloop."""
    needs, name = ((), STREAMS) if line == "tcp" else (FAST, FAST_STREAMS)
    return (
        Subject(name, f"{what}-streams-asyncio", needs=needs),
        Subject(f"{name}, uvloop", f"{what}-streams-uvloop", needs=(*needs, *UVLOOP)),
    )


def ours(what: str, reach: str = "") -> tuple[Subject, ...]:
    return (
        Subject(ON_ASYNCIO, f"{what}-labtether-asyncio", reach),
        Subject(ON_UVLOOP, f"{what}-labtether-uvloop", needs=UVLOOP),
        Subject(ON_TRIO, f"{what}-labtether-trio", needs=TRIO),
    )


def on_each(line: str, reach: str) -> tuple[tuple[str, str, str], ...]:
    """Against asyncio's streams, on the same loop."""
    name = STREAMS if line == "tcp" else FAST_STREAMS
    return (ON_ASYNCIO, name, reach), (ON_UVLOOP, f"{name}, uvloop", reach)


def links() -> list[Row]:
    in_threads = Subject("labtether, blocking, in threads", "links-labtether-threads")
    pyserial = Subject("pyserial in threads", "links-pyserial-threads", needs=SERIAL)
    return [
        Row(
            key=f"links_{line}",
            title=f"200 links queried at once, {WHERE[line]}: requests/s",
            line=line,
            ports=200,
            each=5000,
            unit="request",
            by_rate=True,
            rounds=0.5,
            subjects=(
                LIMIT_OF_MANY,
                *streams(line, "links"),
                *((pyserial,) if line == "pty" else ()),
                *ours("links"),
                in_threads,
            ),
            against=on_each(line, "1.5"),
            notes=(
                "A task (or thread) for each link; it asks again as soon as it has its answer, 25 times in a round.",
                "The instruments are one process, an epoll loop in C.",
            ),
        )
        for line in ("tcp", "pty")
    ]


def polls() -> list[Row]:
    return [
        Row(
            key=f"polls_{line}",
            title=f"50 links polled as fast as answers come, {WHERE[line]}: readings/s",
            line=line,
            ports=50,
            each=10_000,
            unit="reading",
            by_rate=True,
            rounds=0.5,
            subjects=(
                LIMIT_OF_MANY,
                *streams(line, "links"),
                Subject("labtether, asyncio, a loop of queries", "links-labtether-asyncio"),
                *ours("polls"),
            ),
            against=on_each(line, "5"),
            notes=("labtether: poll(every=0), each reading with its time. The peers: a loop of write and readline.",),
        )
        for line in ("tcp", "pty")
    ]


def ids() -> list[Row]:
    return [
        Row(
            key=f"ids_{line}",
            title=f"32 queries in flight on one link, told apart by id, {WHERE[line]}: requests/s",
            line=line,
            mode="ids",
            each=3200,
            unit="request",
            by_rate=True,
            rounds=0.5,
            subjects=(
                *streams(line, "ids"),
                Subject("asyncio protocol", "ids-protocol-asyncio", needs=FAST if line == "pty" else ()),
                *ours("ids"),
            ),
            against=(*on_each(line, ""), (ON_ASYNCIO, "asyncio protocol", "")),
            notes=("The peers: a task (or data_received) that hears all replies, and a dict of futures.",),
        )
        for line in ("tcp", "pty")
    ]


def keepalives() -> list[Row]:
    return [
        Row(
            key=key,
            title=f"a keep-alive every 50 ms, over a pty, {while_}",
            line="pty",
            mode="gaps",
            each=40,
            warm_up=8,
            unit="keep-alive",
            late=0.075,
            rounds=0.25,
            cpu_per=None,
            subjects=(
                Subject("limit: loop in C", None),
                Subject("asyncio task, pyserial-asyncio-fast", f"{key}-task", needs=FAST),
                Subject("thread, pyserial", f"{key}-thread", needs=SERIAL),
                Subject("labtether", f"{key}-labtether", "none"),
            ),
            notes=(
                "Late: it came more than 75 ms after the one before, as the instrument saw it.",
                "What is late at the limit, which nothing blocks, is the machine's own.",
            ),
        )
        for key, while_ in (
            ("keepalive_blocked", "while Python blocks its loop for 100 ms of every 200"),
            ("keepalive_gil", "while one C call holds the GIL for 100 ms of every 200"),
        )
    ]
