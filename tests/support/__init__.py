"""What the Python tests share: instruments on real lines, child processes, counters, and the leak gate."""

from support.child import Child, Finished, assert_no_panic, run_child
from support.instrument import Handler, Instrument, Reply, replies, silent
from support.lines import PtyInstrument, TcpInstrument
from support.turns import LoopCounter

__all__ = [
    "Child",
    "Finished",
    "Handler",
    "Instrument",
    "LoopCounter",
    "PtyInstrument",
    "Reply",
    "TcpInstrument",
    "assert_no_panic",
    "replies",
    "run_child",
    "silent",
]
