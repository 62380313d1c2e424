"""The exceptions of labtether, for `from labtether.errors import ...`; what they mean is in their docstrings."""

from labtether._errors import (
    CleanupTimeout,
    ForkedProcess,
    FrameError,
    InstrumentBusy,
    InstrumentError,
    InternalError,
    LinkBusy,
    LinkClosed,
    LinkError,
    LinkLost,
    LinkTimeout,
    OpenFailed,
    ScopeClosed,
)

__all__ = [
    "CleanupTimeout",
    "ForkedProcess",
    "FrameError",
    "InstrumentBusy",
    "InstrumentError",
    "InternalError",
    "LinkBusy",
    "LinkClosed",
    "LinkError",
    "LinkLost",
    "LinkTimeout",
    "OpenFailed",
    "ScopeClosed",
]
