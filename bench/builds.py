"""The rows about builds: ten steps on busybox, run all and taken from the cache."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Row, in_turn
from peers import LAB, Peer
from rows import each, quietly, run

STEPS = """\
FROM busybox
WORKDIR /app
COPY one /app/
RUN echo one > /one
RUN mkdir -p /a/b && echo two > /a/b/two
COPY all /app/all
RUN cat /app/all/* > /three
ENV MODE=production
RUN echo four > /four
RUN rm /one
CMD ["sh"]
"""
FILES = 20


def _context() -> str:
    """A directory with the ten steps and a few files."""
    place = LAB / "build-context"
    (place / "all").mkdir(parents=True, exist_ok=True)
    (place / "Dockerfile").write_text(STEPS)
    (place / "one").write_text("one\n")
    for number in range(FILES):
        (place / "all" / f"{number}").write_text(f"{number}\n" * 500)
    return str(place)


def ten_steps(peers: Sequence[Peer], rounds: int) -> list[Row]:
    """A build of which nothing is cached, and the same again of which everything is."""
    context = _context()
    cold = in_turn(
        each(peers, lambda p: run(p, "build", "-q", "--no-cache", "-t", "ten", context)),
        rounds=max(3, rounds // 4), warm=1,
    )  # fmt: skip
    for peer in peers:
        quietly(peer, "build", "-q", "-t", "ten", context)
    cached = in_turn(
        each(peers, lambda p: run(p, "build", "-q", "-t", "ten", context)), rounds=rounds, warm=2
    )
    return [
        Row(
            key="build-cold", title="build of 10 steps, nothing cached", unit="ms",
            samples=cold, against="docker", must=1 / 2, aim=1 / 4,
        ),
        Row(
            key="build-cached", title="build of 10 steps, all cached", unit="ms",
            samples=cached, against="docker", must=1, aim=1 / 2,
        ),
    ]  # fmt: skip
