"""Dockerfile lines of ``import --change``."""

from __future__ import annotations

import pytest

from wirt.errors import Invalid
from wirt.image.changes import apply_changes
from wirt.model.image import ImageConfig


def changed(*lines: str) -> ImageConfig:
    return apply_changes(ImageConfig(), lines)


def test_commands_have_two_forms() -> None:
    assert changed('CMD ["a", "b c"]').cmd == ("a", "b c")
    assert changed("cmd a b").cmd == ("/bin/sh", "-c", "a b")
    assert changed("ENTRYPOINT [not json").entrypoint == ("/bin/sh", "-c", "[not json")


def test_variables_and_labels() -> None:
    assert changed("ENV A=1 B='2 3' C=\"x=y\"").env == ("A=1", "B=2 3", "C=x=y")
    assert changed("ENV A one two").env == ("A=one two",)
    assert changed("ENV A=1", "ENV A=2 B=3").env == ("A=2", "B=3")
    assert changed('LABEL a="b c" d=').labels == {"a": "b c", "d": ""}


def test_the_rest() -> None:
    made = changed(
        "EXPOSE 80 53/udp", "VOLUME /a /b", 'VOLUME ["/a", "/c"]', "USER u:g", "WORKDIR /w",
        "WORKDIR sub", "STOPSIGNAL SIGINT", "HEALTHCHECK --interval=5s --retries=2 CMD test -f x",
    )  # fmt: skip
    assert made.exposed_ports == ("80/tcp", "53/udp")
    assert made.volumes == ("/a", "/b", "/c")
    assert (made.user, made.working_dir, made.stop_signal) == ("u:g", "/w/sub", "SIGINT")
    assert made.healthcheck == {
        "Test": ["CMD-SHELL", "test -f x"], "Interval": 5 * 10**9, "Retries": 2,
    }  # fmt: skip
    assert changed("HEALTHCHECK NONE").healthcheck == {"Test": ["NONE"]}
    assert changed('HEALTHCHECK CMD ["a"]').healthcheck == {"Test": ["CMD", "a"]}


@pytest.mark.parametrize(
    "line",
    ["RUN x", "FROM y", "", "CMD", "ENV =x", "ENV 'open", "ENV A=1 B", "EXPOSE x", "EXPOSE 80/x",
     "HEALTHCHECK x", "HEALTHCHECK CMD", "HEALTHCHECK --odd=1 CMD x",
     "HEALTHCHECK --retries=x CMD y"],
)  # fmt: skip
def test_what_cannot_be_applied(line: str) -> None:
    with pytest.raises(Invalid):
        changed(line)
