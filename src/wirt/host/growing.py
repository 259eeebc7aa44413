"""A file that is still being written, and somebody who reads it from the start meanwhile."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from wirt.host.pipe import writable

_STEP = 1024 * 1024


class Growing:
    """What has been written of a file so far. Belongs to one event loop."""

    def __init__(self) -> None:
        self._file = -1
        self._size = 0
        self._ended = False
        self._news = asyncio.Event()

    def begin(self, path: Path) -> None:
        """The file is there, still empty. It may be renamed or removed later."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._news.set()

    def advance(self, size: int) -> None:
        """There are this many bytes now."""
        self._size = size
        self._news.set()

    def end(self) -> None:
        """No more will come, be it whole or not. Idempotent."""
        self._ended = True
        self._news.set()

    async def begun(self) -> bool:
        """Wait until there is a file to read; False when there will be none."""
        while self._file < 0 and not self._ended:
            self._news.clear()
            await self._news.wait()
        return self._file >= 0

    async def pour(self, pipe: int) -> None:
        """Move its bytes into a pipe as they come, until it ends or the reader has gone away."""
        os.set_blocking(pipe, False)
        done = 0
        while True:
            if done == self._size:
                if self._ended:
                    return
                self._news.clear()
                await self._news.wait()
                continue
            try:
                done += os.splice(
                    self._file, pipe, min(_STEP, self._size - done), offset_src=done,
                    flags=os.SPLICE_F_NONBLOCK,
                )  # fmt: skip
            except BlockingIOError:
                await writable(pipe)
            except BrokenPipeError:
                return
            else:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
