"""``wirt build --check``, and the warnings and errors of builds, as a user sees them."""

from __future__ import annotations

from pathlib import Path

from live import Live
from needs import needs

pytestmark = needs("root", "crun", "overlay")


def context(tmp_path: Path, dockerfile: str, ignore: str = "") -> str:
    (tmp_path / "Dockerfile").write_text(dockerfile)
    (tmp_path / "file").write_text("x")
    if ignore:
        (tmp_path / ".dockerignore").write_text(ignore)
    return str(tmp_path)


def test_a_check_reports_and_fails_when_there_are_warnings(
    shared_instance: Live, tmp_path: Path
) -> None:
    place = context(
        tmp_path,
        "# check=experimental=CopyIgnoredFile\nFROM busybox as b\n"
        "LABEL path=$PATH home=$NOWHERE\nCOPY file .\n",
        "file\n",
    )
    done = shared_instance.wirt("build", "--check", place, code=1)
    assert "Dockerfile:2:14: 'as' should be written like 'FROM' (FromAsCasing)" in done.stdout
    assert "Dockerfile:3:24: '$NOWHERE' is not defined (UndefinedVar)" in done.stdout
    assert "'file' is left out by .dockerignore (CopyIgnoredFile)" in done.stdout
    assert "   3 | >>> LABEL path=$PATH home=$NOWHERE\n" in done.stdout
    assert done.stdout.endswith("Dockerfile: 3 warnings\n")
    good = context(tmp_path, "FROM busybox AS b\n")
    done = shared_instance.wirt("build", "--check", good)
    assert done.stdout == "Dockerfile: no warnings\n"


def test_a_check_of_standard_input_and_of_nonsense(shared_instance: Live, tmp_path: Path) -> None:
    done = shared_instance.wirt(
        "build", "--check", "-", feed="FROM missing\nMAINTAINER x\n", code=1
    )
    assert "2:1: MAINTAINER is deprecated" in done.stdout
    place = context(tmp_path, "FROM busybox\nRUN --mount=type=cach,target=/x true\n")
    done = shared_instance.wirt("build", "--check", place, code=None)
    assert done.returncode not in {0, 1}
    assert "Dockerfile:2:13: there is no type of mount 'cach'" in done.stderr
    assert "did you mean cache?" in done.stderr


def test_a_build_warns_and_fails_only_when_asked_to(shared_instance: Live, tmp_path: Path) -> None:
    text = "FROM scratch as b\nCOPY file /\n"
    place = context(tmp_path, text)
    done = shared_instance.wirt("build", "--build-arg=no=1", "-t", "warned", place)
    assert "'no' is not used: no ARG declares it" in done.stderr
    assert "FromAsCasing" in done.stderr
    assert "Dockerfile:1:14" in done.stderr
    shared_instance.wirt("rmi", "warned")
    strict = context(tmp_path, f"# check=error=true\n{text}")
    done = shared_instance.wirt("build", "-t", "warned", strict, code=None)
    assert done.returncode != 0
    assert "Dockerfile:2:14: the checks failed: FromAsCasing" in done.stderr
    assert shared_instance.wirt("images", "-q", "warned").stdout == ""
