"""What is measured: the rows, their subjects, and the figures of the design (section 7) they are held against."""

from __future__ import annotations

from row import FAST, SERIAL, TRIO, UVLOOP, Row, Subject
from rows_apart import rows_apart
from rows_together import rows_together

LIMIT = Subject("limit: blocking loop in C", None)
TIMEOUTS = (
    "Timeouts: labtether's own 5 s is always on; pyserial's 5 s too; the other peers have one where their name says so."
)


def rows() -> list[Row]:
    """All of them, in the order in which they are run."""
    return [
        Row(
            key="pty",
            title="one query over a pty: 10 bytes out, 20 back",
            line="pty",
            each=500,
            subjects=(
                LIMIT,
                Subject("pyserial readline", "pyserial", needs=SERIAL),
                Subject("pyserial-asyncio-fast", "pyserial-asyncio-fast", needs=FAST),
                Subject("pyserial-asyncio-fast, asyncio.timeout", "pyserial-asyncio-fast-timeout", needs=FAST),
                Subject("labtether, asyncio", "labtether-asyncio", "2.5"),
                Subject("labtether, uvloop", "labtether-uvloop", needs=UVLOOP),
                Subject("labtether, trio", "labtether-trio", "2.3", needs=TRIO),
                Subject("labtether, blocking", "labtether-blocking", "1.8"),
            ),
            against=(
                ("labtether, asyncio", "pyserial-asyncio-fast", "1.1"),
                ("labtether, asyncio", "pyserial-asyncio-fast, asyncio.timeout", ""),
            ),
            notes=(TIMEOUTS, "The design asks for at most 3 s of CPU for 100 000 queries."),
        ),
        Row(
            key="tcp",
            title="one query over TCP (loopback): 10 bytes out, 20 back",
            line="tcp",
            each=500,
            subjects=(
                LIMIT,
                Subject("asyncio streams", "streams-asyncio"),
                Subject("asyncio streams, asyncio.timeout", "streams-asyncio-timeout"),
                Subject("uvloop streams", "streams-uvloop", needs=UVLOOP),
                Subject("labtether, asyncio", "labtether-asyncio", "4"),
                Subject("labtether, uvloop", "labtether-uvloop", needs=UVLOOP),
                Subject("labtether, trio", "labtether-trio", needs=TRIO),
                Subject("labtether, blocking", "labtether-blocking"),
            ),
            against=(("labtether, asyncio", "asyncio streams", "below 1"),),
            notes=(TIMEOUTS,),
        ),
        *(
            Row(
                key=key,
                title=title,
                each=each,
                unit="await",
                subjects=(
                    Subject("bare asyncio future", f"{key}-bare"),
                    Subject("labtether", f"{key}-labtether", reach),
                    Subject("future_into_py", f"{key}-future_into_py", needs=("labtether_comparator",)),
                ),
                against=(("labtether", "future_into_py", share),),
                notes=("Each await is in an async function of its own; all subjects on asyncio.",),
            )
            for key, title, each, reach, share in (
                ("no_op", "one bridged await of a no-op, alone", 500, "", ""),
                ("no_op_gather", "one bridged await of a no-op, asyncio.gather of 100, per await", 2000, "1.5", "0.2"),
            )
        ),
        *(
            Row(
                key=key,
                title=title,
                line="pty",
                mode=mode,
                each=25,
                unit="cancel",
                cpu_per=None,
                subjects=(
                    Subject("bare asyncio future", "cancel-bare"),
                    Subject("labtether, asyncio", f"{key}-asyncio", reach),
                    Subject("labtether, uvloop", f"{key}-uvloop", needs=UVLOOP),
                    Subject("labtether, trio", f"{key}-trio", needs=TRIO),
                ),
                notes=notes,
            )
            for key, title, mode, reach, notes in (
                (
                    "cancel_query",
                    "cancel to resumed: a query that was written and not answered yet",
                    "late",
                    "",
                    ("The bare future is cancelled in Python alone; labtether resumes after Rust has acknowledged.",),
                ),
                (
                    "cancel_receive",
                    "cancel to resumed: receive(), nothing on the wire",
                    "silent",
                    "p99 < 1 ms",
                    (),
                ),
            )
        ),
        *(
            Row(
                key=f"messages_{line}",
                title=f"messages of 64 bytes, iterated, over {'a pty' if line == 'pty' else 'TCP (loopback)'}",
                line=line,
                mode="push",
                each=100_000,
                unit="message",
                rounds=0.25,
                cpu_per=1_000_000,
                subjects=(
                    LIMIT,
                    peer,
                    Subject("labtether, asyncio", "messages-asyncio", "500 k/s"),
                    Subject("labtether, uvloop", "messages-uvloop", needs=UVLOOP),
                    Subject("labtether, trio", "messages-trio", needs=TRIO),
                    Subject("labtether, blocking", "messages-blocking"),
                ),
                notes=("From the command that starts it to the last message; none may be dropped.",),
            )
            for line, peer in (
                ("pty", Subject("pyserial-asyncio-fast", "messages-pyserial-asyncio-fast", needs=FAST)),
                ("tcp", Subject("asyncio streams", "messages-streams")),
            )
        ),
        *rows_apart(),
        *rows_together(),
    ]
