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


def test_lines_mean_what_they_mean_in_a_dockerfile() -> None:
    assert changed("ENV A=1", "ENV A=2 B=$A", "LABEL l=${A}${none:-x}").labels == {"l": "2x"}
    assert changed("ENV A=1", "ENV A=2 B=$A").env == ("A=2", "B=1")
    assert changed("EXPOSE 8000-8001").exposed_ports == ("8000/tcp", "8001/tcp")
    assert changed("CMD a", "ENTRYPOINT b").cmd == ("/bin/sh", "-c", "a")
    before = ImageConfig(cmd=("old",), env=("P=1",), volumes=("/v",))
    after = apply_changes(before, ['ENTRYPOINT ["x"]', "VOLUME /w$P"])
    assert (after.cmd, after.entrypoint, after.volumes) == ((), ("x",), ("/v", "/w1"))
    assert after.env == ("P=1",)
    with pytest.raises(
        Invalid, match=r"'USRE me': --change:1:1: there is no instruction"
    ) as caught:
        changed("USRE me")
    assert caught.value.hint == "did you mean USER?"
    assert caught.value.code == "image.change"


def test_the_rest() -> None:
    made = changed(
        "EXPOSE 80 53/udp", "VOLUME /a /b", 'VOLUME ["/a", "/c"]', "USER u:g", "WORKDIR /w",
        "WORKDIR sub", "STOPSIGNAL SIGINT", "HEALTHCHECK --interval=5s --retries=2 CMD test -f x",
    )  # fmt: skip
    assert made.exposed_ports == ("53/udp", "80/tcp")
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
