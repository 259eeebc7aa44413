"""Capabilities, resource limits and options: properties that hold for every wish."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wirt.crun.capability import DEFAULT, grant
from wirt.crun.security import Security, parse_options
from wirt.crun.spec.mounts import bind_mount, kernel_mounts, ordered, tmpfs_mount
from wirt.crun.spec.process import clean, merge_env, rlimits
from wirt.linux.features import CAPABILITIES, RLIMITS, UNLIMITED

names = st.frozensets(st.sampled_from((*CAPABILITIES, "ALL")), max_size=12)
sets = st.frozensets(st.sampled_from(CAPABILITIES))


@given(add=names, drop=names, bounding=sets)
def test_never_more_than_the_host_can_give(
    add: frozenset[str], drop: frozenset[str], bounding: frozenset[str]
) -> None:
    granted = grant(add, drop, bounding=bounding)
    assert granted.names <= bounding
    missing = grant(add, drop, bounding=frozenset(CAPABILITIES)).names - bounding
    assert bool(granted.warnings) == bool(missing)
    for name in missing:
        assert name in granted.warnings[0]


@given(add=names, drop=names)
def test_dockers_rule_for_capabilities(add: frozenset[str], drop: frozenset[str]) -> None:
    every = frozenset(CAPABILITIES)
    granted = grant(add, drop, bounding=every).names
    if "ALL" in add:
        assert granted == every - drop
    elif "ALL" in drop:
        assert granted == add
    else:
        assert granted == (DEFAULT - drop) | add


limits = st.one_of(st.just(-1), st.integers(0, 2**40))


@given(
    wish=st.dictionaries(st.sampled_from(sorted(RLIMITS)), st.tuples(limits, limits), max_size=6),
    host=st.dictionaries(st.sampled_from(sorted(RLIMITS)), st.integers(0, 2**40)),
    may_raise=st.booleans(),
)
def test_limits_are_never_above_the_hosts_unless_it_may_raise_them(
    wish: dict[str, tuple[int, int]], host: dict[str, int], may_raise: bool
) -> None:
    made = rlimits(wish, host=host, may_raise=may_raise, most_files=2**30)
    lowered = 0
    for entry in made.entries:
        name = str(entry["type"]).removeprefix("RLIMIT_").lower()
        soft, hard = entry["soft"], entry["hard"]
        assert isinstance(soft, int)
        assert isinstance(hard, int)
        if name not in wish:
            assert name == "nofile"
            continue
        asked = UNLIMITED if wish[name][1] == -1 else wish[name][1]
        bound = UNLIMITED if may_raise else host.get(name, UNLIMITED)
        bound = min(bound, 2**30) if name == "nofile" else bound
        assert hard == min(asked, bound)
        assert soft <= hard or asked <= bound
        lowered += asked > bound
    assert len(made.warnings) == lowered
    assert {str(e["type"])[7:].lower() for e in made.entries} == {*wish, "nofile"}


@given(st.text(alphabet="/.a", max_size=12))
def test_a_cleaned_path_is_absolute_and_has_no_dots(text: str) -> None:
    path = clean("/" + text)
    parts = path.split("/")
    assert path.startswith("/")
    assert not path.startswith("//")
    assert "." not in parts
    assert ".." not in parts


def test_environment_is_merged_by_name_in_order() -> None:
    assert merge_env(("A=1", "B=2", "A=3"), ("B=", "C=4")) == ("A=3", "B=", "C=4")


def test_options() -> None:
    assert parse_options(()) == Security()
    assert parse_options(("no-new-privileges=false",)) == Security()
    assert parse_options(("no-new-privileges:true", "seccomp:unconfined")) == Security(
        no_new_privileges=True, seccomp="unconfined"
    )
    profile = '{"defaultAction": "SCMP_ACT_ALLOW"}'
    assert parse_options((f"seccomp={profile}",)).seccomp == profile


def test_a_wish_for_dev_replaces_what_lies_below_it() -> None:
    kernel = kernel_mounts(shm_size=1)
    wish = bind_mount("/dev/", "/mydev", read_only=False, propagation="rprivate")
    places = [m["destination"] for m in ordered(kernel, [], [wish])]
    assert places == ["/proc", "/sys", "/sys/fs/cgroup", "/dev/"]


def test_parents_are_mounted_first_and_own_files_stay_visible() -> None:
    own = [bind_mount("/etc/hosts", "/o", read_only=False, propagation="rprivate")]
    wishes = [
        bind_mount(t, "/x", read_only=False, propagation="rprivate")
        for t in ("/a/b/c", "/etc", "/a", "/a/b")
    ]
    places = [m["destination"] for m in ordered([], own, wishes)]
    assert places == ["/etc", "/a", "/etc/hosts", "/a/b", "/a/b/c"]


def test_read_only_reaches_below_only_for_private_mounts() -> None:
    def options(propagation: str) -> object:
        return bind_mount("/a", "/b", read_only=True, propagation=propagation)["options"]

    assert options("rprivate") == ["rbind", "rprivate", "ro", "rro"]
    assert options("rshared") == ["rbind", "rshared", "ro"]


def test_later_tmpfs_options_override_the_defaults() -> None:
    made = tmpfs_mount("/t", size=5, mode=0o1777, options=("exec", "ro", "rw"), read_only=False)
    assert made["options"] == ["nosuid", "nodev", "exec", "rw", "size=5", "mode=1777", "rprivate"]
    assert "ro" in tmpfs_mount("/t", size=None, mode=None, options=(), read_only=True)["options"]  # type: ignore[operator]
