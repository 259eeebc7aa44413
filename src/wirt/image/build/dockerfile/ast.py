"""A Dockerfile as parsed: frozen values that know where in the text they stand.

Texts are as written (quotes and ``$`` included) until ``expand`` returns the same type with what
the texts mean. ``None`` says that something was not written, so defaults stay the reader's
business. Grammar: BuildKit's ``frontend/dockerfile/docs/reference.md``.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class Position:
    """Where something begins: line and column, both counted from 1, columns in characters."""

    line: int
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an instruction stands and how it was written.

    ``text`` is its logical line: continuations joined, comments between them removed, heredocs
    not included. ``marks`` are (offset in ``text``, position in the file) where the one maps to
    the other, in rising order. ``source`` is all of it as written, heredocs included;
    ``end_line`` its last line. ``keyword`` is as typed, ``comment`` the comment lines right above
    (without ``#``).
    """

    line: int
    column: int
    end_line: int
    keyword: str
    text: str
    source: str
    marks: tuple[tuple[int, Position], ...] = field(default=(), repr=False)
    comment: tuple[str, ...] = ()

    def at(self, offset: int) -> Position:
        """The position in the file of the character ``offset`` of ``text``."""
        index = bisect_right(self.marks, offset, key=lambda mark: mark[0]) - 1
        if index < 0:
            return Position(self.line, self.column)
        start, position = self.marks[index]
        return Position(position.line, position.column + max(0, offset - start))

    def find(self, word: str) -> Position:
        """The position of the first occurrence of ``word``, else where the instruction begins."""
        offset = self.text.find(word, len(self.keyword)) if word else -1
        return self.at(offset) if offset >= 0 else Position(self.line, self.column)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """``<<NAME``: ``content`` has the tabs stripped already where ``chomp`` (``<<-``) asks for it.

    ``expand`` is false when the name was quoted. ``line`` is the first line of the content.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """What RUN, CMD, ENTRYPOINT and HEALTHCHECK CMD start.

    The exec form (``["a", "b"]``) has the arguments as ``words``; the shell form (``shell`` true)
    one word, to be given to the stage's SHELL.
    """

    words: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """``key=value`` of ENV and LABEL."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """``name`` or ``name=default`` of ARG."""

    name: str
    default: str | None


class MountKind(Enum):
    """``--mount=type=``."""

    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"  # noqa: S105 - the name of a kind, no password
    SSH = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """``RUN --mount``. ``size`` in bytes; ``mode``, ``uid`` and ``gid`` are numbers.

    ``sharing`` is ``shared``, ``private`` or ``locked``. ``text`` is the flag's value as written.
    """

    kind: MountKind = MountKind.BIND
    text: str = ""
    target: str | None = None
    source: str | None = None
    origin: str | None = None
    """``from=``: a stage, a named context or an image."""
    readonly: bool | None = None
    id: str | None = None
    sharing: str | None = None
    required: bool = False
    env: str | None = None
    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """``FROM [--platform=P] image [AS name]``. ``name`` is lower-case, ``name_as_written`` not.

    ``separator`` is the word ``AS`` as written, None when the stage has no name.
    """

    at: Origin
    image: str
    platform: str | None = None
    name: str | None = None
    name_as_written: str | None = None
    separator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg:
    """``ARG name[=default] ...``."""

    at: Origin
    declarations: tuple[Declaration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """``ENV``. ``legacy``: written ``ENV key value``, without ``=``."""

    at: Origin
    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """``LABEL``. ``legacy``: written ``LABEL key value``, without ``=``."""

    at: Origin
    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer:
    """``MAINTAINER name`` (deprecated)."""

    at: Origin
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``RUN``. ``network`` is ``default``, ``none`` or ``host``, ``security`` ``sandbox`` or
    ``insecure``.

    With heredocs ``command`` is the line that names them; when the only thing on the line is one
    heredoc, ``script`` is true: its content is the script itself.
    """

    at: Origin
    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    script: bool = False
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    security: str = "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd:
    """``CMD``. Without words it empties an inherited one."""

    at: Origin
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint:
    """``ENTRYPOINT``. Without words it empties an inherited one."""

    at: Origin
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """``COPY``. ``inline`` are the heredocs among the sources: each becomes the file of its name
    at the destination. ``sources`` does not name them.

    ``link`` and ``parents`` are None when not written. ``origin`` is ``--from``.
    """

    at: Origin
    sources: tuple[str, ...]
    destination: str
    inline: tuple[Heredoc, ...] = ()
    origin: str | None = None
    chown: str | None = None
    chmod: str | None = None
    link: bool | None = None
    parents: bool | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """``ADD``: as COPY, besides URLs, git repositories and local archives.

    ``keep_git_dir`` and ``unpack`` are None when not written. ``checksum`` is
    ``algorithm:hex`` of the file behind an URL, or a commit.
    """

    at: Origin
    sources: tuple[str, ...]
    destination: str
    inline: tuple[Heredoc, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    link: bool | None = None
    exclude: tuple[str, ...] = ()
    keep_git_dir: bool | None = None
    checksum: str | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    """``WORKDIR``."""

    at: Origin
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """``USER name[:group]``."""

    at: Origin
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """``VOLUME``."""

    at: Origin
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose:
    """``EXPOSE``. Expanded: each one port with its protocol (``80/tcp``), ranges spelled out."""

    at: Origin
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """``HEALTHCHECK``: ``command`` is None for ``NONE``. Times in nanoseconds; None for those
    not written."""

    at: Origin
    command: Command | None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """``SHELL ["program", "argument", ...]``."""

    at: Origin
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopsignal:
    """``STOPSIGNAL``, a name or a number."""

    at: Origin
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild:
    """``ONBUILD trigger``: ``trigger`` is the text that goes into the image's configuration,
    ``instruction`` what it says."""

    at: Origin
    trigger: str
    instruction: Instruction


Instruction = (
    Add | Arg | Cmd | Copy | Entrypoint | Env | Expose | Healthcheck | Label | Maintainer
    | Onbuild | Run | Shell | Stopsignal | User | Volume | Workdir
)  # fmt: skip
"""All that may stand in a stage, after its FROM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A FROM and what follows it. ``index`` counts from 0."""

    index: int
    start: From
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """The comments at the top that steer the parser. ``skip`` are names of checks, lower-case,
    ``{"all"}`` for all of them; ``failing``: a warning of the checks ends the build."""

    syntax: str | None = None
    escape: str = "\\"
    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    failing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A whole file. ``name`` is what errors and warnings call it.

    ``args`` are the ARGs before the first FROM. ``blank_continuations`` are the lines after
    which a continuation goes on over an empty line.
    """

    name: str
    directives: Directives
    args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    blank_continuations: tuple[Position, ...] = ()
    lines: tuple[str, ...] = field(default=(), repr=False)

    def stage(self, name: str) -> Stage | None:
        """The stage of that name (of any case) or number; the last one where a name is used
        twice."""
        for stage in reversed(self.stages):
            if stage.start.name == name.lower():
                return stage
        if name.isascii() and name.isdigit() and int(name[:6]) < len(self.stages):
            return self.stages[int(name[:6])]
        return None
