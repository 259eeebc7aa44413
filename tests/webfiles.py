"""A web server of a directory that notes what it is asked, and the repositories that it serves."""

from __future__ import annotations

import contextlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Web:
    """``url``: without a slash at its end. ``marks``: ETags by path; other files have none, and no
    ``Last-Modified`` when ``dated`` is off. ``more``: further headers of answers by path.
    ``always``: statuses by path."""

    folder: Path
    url: str = ""
    dated: bool = True
    marks: dict[str, str] = field(default_factory=dict)
    more: dict[str, dict[str, str]] = field(default_factory=dict)
    always: dict[str, int] = field(default_factory=dict)
    seen: list[tuple[str, int]] = field(default_factory=list)
    conditions: list[dict[str, str]] = field(default_factory=list)

    def asked(self) -> list[tuple[str, int]]:
        """Paths and statuses since the last time."""
        found = list(self.seen)
        self.seen.clear()
        return found


class _Files(http.server.SimpleHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        conditions = ("If-None-Match", "If-Modified-Since", "Authorization")
        found = {name: self.headers[name] for name in conditions if name in self.headers}
        self.web.conditions.append(found)
        mark = self.web.marks.get(self.path)
        unchanged = mark is not None and self.headers.get("If-None-Match") == mark
        if unchanged or self.path in self.web.always:
            self.send_response(self.web.always.get(self.path, 304))
            self.end_headers()
            return
        super().do_GET()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified" or self.web.dated:
            super().send_header(keyword, value)

    def end_headers(self) -> None:
        if mark := self.web.marks.get(self.path):
            self.send_header("ETag", mark)
        for name, value in self.web.more.get(self.path, {}).items():
            self.send_header(name, value)
        super().end_headers()

    def send_response(self, code: int, message: str | None = None) -> None:
        self.web.seen.append((self.path, code))
        super().send_response(code, message)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextlib.contextmanager
def serving(folder: Path, **how: Any) -> Iterator[Web]:
    """Serve a directory on loopback."""
    folder.mkdir(exist_ok=True)
    web = Web(folder=folder, **how)
    kind = type("Files", (_Files,), {"web": web})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: kind(*args, directory=str(folder))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        web.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


class Repository:
    """A repository being written, and its bare copy for others to fetch."""

    def __init__(self, work: Path, public: Path) -> None:
        self.work, self.public = work, public
        work.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        options = ("-c", "user.name=t", "-c", "user.email=t@example.com",
                   "-c", "protocol.file.allow=always")  # fmt: skip
        done = subprocess.run(
            ["git", *options, *words], cwd=self.work, env=env, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def commit(self, **files: str) -> str:
        """Write files (``__`` in a name is a slash, ``_`` a dot at its start), commit everything
        and publish it; the commit."""
        for name, text in files.items():
            name = f".{name[1:]}" if name.startswith("_") else name
            path = self.work / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", "more")
        self.publish()
        return self.git("rev-parse", "HEAD")

    def link(self, path: str, commit: str) -> None:
        """Name a commit of another repository, as a submodule does."""
        (self.work / path).mkdir(parents=True, exist_ok=True)
        self.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")

    def publish(self) -> None:
        if not self.public.exists():
            self.git("clone", "-q", "--bare", ".", str(self.public))
        else:
            self.git("push", "-q", "--mirror", str(self.public))
        subprocess.run(["git", "update-server-info"], cwd=self.public, check=True)
