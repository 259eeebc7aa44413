"""Dockerfiles for comparing builders: each is about one feature of the language.

``lacks`` says why buildah 1.28 gives something else; the comparison insists that it does, so that
no reason outlives a newer buildah. What is right then is written down by hand, after BuildKit's
reference, in ``gives`` and ``says``.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

BASE = "FROM localhost/busybox\n"
NAMED = "FROM localhost/busybox AS one\n"
PLACES = "mounts: it leaves the places of files in the image"
VOLUMES = "volumes: it makes their directories in the image"
FILES: Mapping[str, str] = {
    "a.txt": "a\n",
    "b.txt": "b\n",
    "c.md": "c\n",
    "dir/one": "1\n",
    "dir/two.txt": "2\n",
    "dir/sub/three": "3\n",
    "run.sh": "#!/bin/sh\necho ran > /ran\n",
}
"""The context of every case; ``run.sh`` is executable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A Dockerfile. ``args`` are build arguments, ``secrets`` texts by id; ``files`` come to the
    context besides :data:`FILES`; ``lacks``: why the judge differs, "" when it must not.

    ``gives``: files of the image as ``MODE CONTENT``, ``MODE /`` for a directory, "" for nothing.
    ``says``: lines of its configuration, as ``Env NAME=value`` or ``Cmd word word``."""

    name: str
    text: str
    args: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    lacks: str = ""
    gives: Mapping[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()


def _on(name: str, text: str, **more: object) -> Case:
    return Case(name=name, text=BASE + text, **more)  # type: ignore[arg-type]


CASES = (
    # --- lines, escapes, directives
    _on("continuations", "RUN echo one \\\n  # comment\n\n  two > /out\n"),
    _on("lower-case", "run echo x > /out\nenv a=b\ncmd [\"x\"]\n"),
    Case(name="escape", text=f"# escape=`\n{BASE}ENV a=b`\n c=d\nRUN echo x `\n  y > /out\n"),
    Case(name="escape-in-words", text=f"# escape=`\n{BASE}ENV c=d\\e\nLABEL p=c:\\x`$y\n",
         lacks="the escape character of the directive inside of words",
         says=("Env c=d\\e", "Labels p=c:\\x$y")),
    Case(name="syntax", text=f"# syntax=docker/dockerfile:1\n{BASE}ENV a=b\n"),
    Case(name="bom-and-crlf", text="\ufeff" + BASE.replace("\n", "\r\n") + "ENV a=b\r\n"),
    # --- variables
    _on("env-forms", "ENV a=1 b='two words' c=\"three $a\" d=x\\ y\nENV e f  g\nENV h=$a$b\n"),
    _on("env-same-line", "ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n"),
    _on("substitutions",
        "ENV e= v=x\nLABEL b=${n:-d} c=${e:-d} e=${v:+p} f=${n:+p} g=$1 h=\\$v i=${v}y j=$v/z\n"),
    _on("substitution-unset-forms", "ENV e= v=x\nLABEL a=${e-d} b=${e+p} c=${v?no} d=${v:?no}\n",
        lacks="substitutions of unset but not of empty variables",
        says=("Labels a=", "Labels b=p", "Labels c=x", "Labels d=x")),
    _on("substitution-patterns", "ENV v=a.tar.gz\nLABEL a=${v#*.} b=${v##*.} c=${v%.*} d=${v%%.*}\n"
        "LABEL e=${v/a/b} f=${v//a/b}\n",
        lacks="substitutions with patterns",
        says=("Labels a=tar.gz", "Labels b=gz", "Labels c=a.tar", "Labels d=a",
              "Labels e=b.tar.gz", "Labels f=b.tbr.gz")),
    _on("nested-substitution", "ENV v=x\nLABEL a=${n:-${m:-$v}}\n"),
    _on("quotes", "LABEL a=\"it's \\\"so\\\" \\$HOME\" b='$x \\n' c=\"a\\\\b\"\n"),
    _on("single-quotes-and-words", "LABEL a='b c'\"d e\"f\\ g\n"),
    _on("arg-default", "ARG a=1\nARG b\nENV c=$a d=$b\n"),
    _on("arg-given", "ARG a=1\nARG b\nENV c=$a d=$b\nRUN echo $a $b > /out\n",
        args={"a": "x", "b": "y"}),
    Case(name="arg-global", text=f"ARG a=1\n{BASE}ENV b=x$a\nARG a\nENV c=$a\n"),
    Case(name="arg-from", text="ARG image=busybox\nFROM localhost/${image}\nENV a=b\n"),
    _on("arg-beaten-by-env", "ARG a=1\nENV a=2\nENV b=$a\nRUN echo $a > /out\n", args={"a": "3"}),
    _on("arg-env-before", "ENV a=2\nARG a=1\nENV b=$a\n", args={"a": "3"}),
    _on("arg-in-default", "ARG a=1\nARG b=${a}2\nENV c=$b\n"),
    _on("arg-several", "ARG a=1 b=2\nENV c=$a$b\n"),
    _on("arg-platform", "ARG TARGETPLATFORM\nARG TARGETOS\nENV a=$TARGETPLATFORM b=$TARGETOS\n"),
    _on("proxy", "RUN echo p=$http_proxy > /out\n", args={"http_proxy": "http://nowhere:1"}),
    _on("path-kept", "ENV PATH=$PATH:/opt\nRUN echo $PATH > /out\n"),
    # --- what the image says
    _on("commands-exec", 'CMD ["a", "b c"]\nENTRYPOINT ["d"]\n'),
    _on("commands-shell", "CMD a 'b c'\nENTRYPOINT d $e\n"),
    _on("entrypoint-resets-cmd", 'ENTRYPOINT ["d"]\n'),
    _on("cmd-empty", "CMD []\n"),
    _on("shell", 'SHELL ["/bin/ash", "-ec"]\nRUN echo $0 > /out\nCMD ["a"]\n'),
    _on("shell-for-cmd", 'SHELL ["/bin/ash", "-ec"]\nCMD a\n', lacks="SHELL for CMD",
        says=("Cmd /bin/ash -ec a",)),
    _on("user", "USER 1000:1001\nRUN id -u > /tmp/out; id -g >> /tmp/out\nUSER root\n"),
    _on("workdir", "WORKDIR /a\nWORKDIR b\nWORKDIR ../c\nRUN pwd > out\nENV d=/e\nWORKDIR $d/f\n"),
    _on("volume", "VOLUME /v1 /v2\n", lacks=VOLUMES, says=("Volumes /v1", "Volumes /v2")),
    _on("volume-list", 'VOLUME ["/v 3", "/v4"]\n', lacks=VOLUMES, says=("Volumes /v 3",)),
    _on("volume-filled-later", "RUN mkdir /v\nVOLUME /v\nRUN echo x > /v/out\n",
        lacks="changes in a volume after VOLUME are dropped, as the classic builder did",
        gives={"v/out": "644 x\n"}),
    _on("expose", "ENV p=90\nEXPOSE 80 81/udp $p\n"),
    _on("expose-range", "EXPOSE 100-102/tcp\n", lacks="ranges of ports: the range stays one name",
        says=("ExposedPorts 100/tcp", "ExposedPorts 101/tcp", "ExposedPorts 102/tcp")),
    _on("labels", "LABEL a=b \"c d\"=e f=\nLABEL a=g\n"),
    _on("stopsignal", "STOPSIGNAL SIGINT\n"),
    _on("healthcheck",
        "HEALTHCHECK --interval=1m30s --timeout=3s --start-period=1s --retries=4 CMD a b\n"),
    _on("healthcheck-none", "HEALTHCHECK CMD a\nHEALTHCHECK NONE\n"),
    _on("maintainer", "MAINTAINER me <me@x>\n"),
    _on("onbuild", "ONBUILD COPY a.txt /a\nONBUILD RUN echo b > /b\n"),
    Case(name="onbuild-fires",
         text=f"{NAMED}ONBUILD COPY a.txt /a\nONBUILD ENV x=y\nFROM one\nRUN cat /a > /out\n"),
    # --- COPY and ADD
    _on("copy-file", "COPY a.txt /x\nCOPY b.txt /new/\nCOPY a.txt b.txt /both/\n"),
    _on("copy-directory", "COPY dir /d\nCOPY dir/ /e/\nCOPY dir /etc\n"),
    _on("copy-all", "COPY . /all\n"),
    _on("copy-glob", "COPY *.txt /t/\nCOPY d*/*e /e/\nCOPY ?.md /m/\nCOPY [ab].txt /r/\n"),
    _on("copy-relative", "WORKDIR /w\nCOPY a.txt .\nCOPY b.txt ./sub/\nCOPY dir ../up\n"),
    _on("copy-json", 'COPY ["a.txt", "b.txt", "/with space/"]\n'),
    _on("copy-variables", "ENV s=a.txt d=/to\nCOPY $s ${d}/\n"),
    _on("copy-parent", "COPY ../a.txt /x\n"),
    _on("copy-chown",
        "RUN echo 'web:x:33:34::/:/bin/sh' >> /etc/passwd; echo 'web:x:34:' >> /etc/group\n"
        "COPY --chown=web a.txt /x\nCOPY --chown=5:6 dir /d\nCOPY --chown=7 b.txt /y\n"),
    _on("copy-chmod", "COPY --chmod=640 a.txt /x\nCOPY --chmod=0755 dir /d\n"),
    _on("copy-chmod-letters", "COPY --chmod=u=rwX,go=rX dir /d\n", lacks="--chmod with letters",
        gives={"d/one": "644 1\n", "d/sub": "755 /"}),
    _on("copy-link", "COPY --link a.txt /x/\n", lacks="--link", gives={"x/a.txt": "644 a\n"}),
    _on("copy-parents", "COPY --parents dir/./sub/three dir/one /p/\n", lacks="--parents",
        gives={"p/sub/three": "644 3\n", "p/dir/one": "644 1\n", "p/dir/sub": ""}),
    _on("copy-exclude", "COPY --exclude=*.txt dir /d\n", lacks="--exclude",
        gives={"d/one": "644 1\n", "d/two.txt": ""}),
    _on("copy-over-link", "RUN mkdir /real; ln -s real /link\nCOPY a.txt /link/\n"),
    _on("copy-onto-directory", "RUN mkdir /d\nCOPY a.txt /d\n"),
    Case(name="copy-from-stage", text=f"{NAMED}RUN mkdir /o; echo x > /o/f; ln -s f /o/l\n"
         "FROM scratch\nCOPY --from=one /o /p\nCOPY --from=0 /o/f /q\n"),
    Case(name="copy-from-image",
         text="FROM scratch\nCOPY --from=localhost/busybox /etc/passwd /x\n"),
    _on("ignore", "COPY . /all\n",
        files={".dockerignore": "# no\n*.md\ndir/*\n!dir/one\nDockerfile\n.dockerignore\n"}),
    _on("add-file", "ADD a.txt /x\nADD dir /d\n"),
    _on("add-archive", "ADD files.tar.gz /x/\nCOPY files.tar.gz /y/\n"),
    # --- stages
    Case(name="stages",
         text=f"{NAMED}ENV x=1\nRUN echo a > /a\nFROM one AS b\nENV y=2\n"
         f"RUN echo b > /b\n{BASE}COPY --from=b /a /b /both/\n"),
    Case(name="target", text=f"{NAMED}ENV x=1\nFROM one\nENV y=2\n", target="one"),
    Case(name="stage-arg", text=f"{NAMED}ARG v=1\nFROM one\nENV w=x$v\n",
         lacks="ARGs of the stage that a stage begins from", says=("Env w=x1",)),
    # --- RUN
    _on("run-exec", 'RUN ["/bin/sh", "-c", "echo $0 x > /out"]\n'),
    _on("run-script", "COPY run.sh /\nRUN /run.sh && rm /run.sh\n"),
    _on("run-deletes",
        "RUN echo x > /x; mkdir /d; echo y > /d/y\nRUN rm /x; rm -r /d; rm /etc/group\n"),
    _on("run-modes",
        "RUN touch /x; chmod 4755 /x; mkdir -m 1777 /t; chown 5:6 /t\n"
        "RUN ln /x /y; ln -s /x /z; mkfifo /p\n"),
    _on("run-heredoc", "RUN <<EOF\necho one > /out\necho $HOME >> /out\nEOF\n", lacks="heredocs",
        gives={"out": "644 one\n/root\n"}),
    _on("run-heredoc-script", "RUN <<EOF\n#!/bin/ash\necho x > /out\nEOF\n", lacks="heredocs",
        gives={"out": "644 x\n"}),
    _on("copy-heredoc", "ENV v=x\nCOPY <<a <<'b' /d/\n1 $v\na\n2 $v\nb\n", lacks="heredocs",
        gives={"d/a": "644 1 x\n", "d/b": "644 2 $v\n"}),
    _on("mount-bind", "RUN --mount=type=bind,source=dir,target=/m cat /m/one > /out\n"),
    Case(name="mount-bind-stage", text=f"{NAMED}RUN mkdir /d; echo x > /d/y\n{BASE}"
         "RUN --mount=type=bind,from=one,source=/d,target=/m cat /m/y > /out\n"),
    Case(name="mount-bind-file",
         text=f"{NAMED}RUN echo x > /y\n{BASE}"
         "RUN --mount=type=bind,from=one,source=/y,target=/m/n cat /m/n > /out\n", lacks=PLACES,
         gives={"out": "644 x\n", "m": ""}),
    _on("mount-secret", "RUN --mount=type=secret,id=s wc -c < /run/secrets/s > /out\n"
        "RUN --mount=type=secret,id=s,target=/t stat -c %a /t > /mode\n",
        secrets={"s": "secret"}, lacks=PLACES,
        gives={"out": "644 6\n", "mode": "644 400\n", "t": "", "run/secrets": ""}),
    _on("mount-tmpfs", "RUN --mount=type=tmpfs,target=/m echo x > /m/y; ls /m > /out\n"),
    _on("mount-cache", "RUN --mount=type=cache,target=/m echo x > /m/y; ls /m > /out\n"),
    _on("run-network", "RUN --network=none true\nRUN echo x > /out\n", lacks="RUN --network",
        gives={"out": "644 x\n"}),
)  # fmt: skip


def flags(context: Path, case: Case) -> list[str]:
    """The flags of a case, which both builders read alike."""
    words = [f"--build-arg={name}={value}" for name, value in case.args.items()]
    for name, text in case.secrets.items():
        source = context.parent / f"{context.name}-{name}"
        source.write_text(text)
        words.append(f"--secret=id={name},src={source}")
    return [*words, "--target", case.target] if case.target else words


def make_context(place: Path, case: Case) -> None:
    """Make the build context of a case."""
    place.mkdir(exist_ok=True)
    for name, text in {**FILES, **case.files, "Dockerfile": case.text}.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    with tarfile.open(place / "files.tar.gz", "w:gz") as archive:
        for name in ("in/one", "two"):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = 2, 0o640, 7, 8
            archive.addfile(member, io.BytesIO(b"x\n"))
