"""What a client sent that is no HTTP does not belong into the log as a whole."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

SHOWN = 80
"""Characters of such bytes, spelled out, that help to tell what spoke to us."""


class Brief(logging.Filter):
    """One short line, without a traceback, for each malformed request: aiohttp's own has all the
    bytes, which may be megabytes of anything, terminal sequences included."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "a client sent no HTTP: %s", (ascii(error.message)[:SHOWN],)
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def shorten_malformed() -> None:
    """Let :class:`Brief` judge what aiohttp's server logs."""
    logging.getLogger("aiohttp.server").addFilter(Brief())
