"""The log as it comes: the clerk writes it, so that what was said may have to be waited for."""

from __future__ import annotations

import logging
import threading

__all__ = ["Told"]


class Told(logging.Handler):
    """Keeps the records, and rings for each."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self._came = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._came:
            self.records.append(record)
            self._came.notify_all()

    def wait_for(self, text: str) -> logging.LogRecord:
        """The first record that says `text`; written by the clerk, so it may have to be waited for."""

        def found() -> logging.LogRecord | None:
            return next((record for record in self.records if text in record.getMessage()), None)

        with self._came:
            assert self._came.wait_for(found, timeout=10), [record.getMessage() for record in self.records]
        record = found()
        assert record is not None
        return record
