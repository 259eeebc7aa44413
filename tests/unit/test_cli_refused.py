"""Command lines that are refused before the daemon is asked: each names what was typed."""

from __future__ import annotations

import pytest

from fakes.words import refused, spec
from wirt.errors import Unsupported


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-v", ""], "invalid volume ''"),
        (["-v", "a:b:c:d"], "'a:b:c:d'"),
        (["-v", "a:b"], "invalid target 'b' in -v a:b"),
        (["-v", "a:/"], "invalid target '/'"),
        (["-v", "a/b:/c"], "invalid volume name 'a/b'"),
        (["-v", "_a:/c"], "invalid volume name '_a'"),
        (["-v", "a:/b:rx"], "invalid option 'rx'"),
        (["-v", "/a:/b:nocopy"], "invalid option 'nocopy'"),
        (["-v", "a:/b:rslave"], "invalid option 'rslave'"),
        (["-v", "a:/b", "-v", "c:/b/"], "two mounts have the target /b"),
        (["--mount", ""], "unknown key ''"),
        (["--mount", "type=bind,target=/d"], "has no source"),
        (["--mount", "type=bind,source=/a"], "has no target"),
        (["--mount", "type=bind,source=a,target=/d"], "invalid source 'a'"),
        (["--mount", "type=magic,target=/d"], "unknown type 'magic'"),
        (["--mount", "type=tmpfs,source=a,target=/d"], "a tmpfs has no source"),
        (["--mount", "type=bind,source=/a,target=/d,tmpfs-size=1"], "tmpfs-size is for type=tmpfs"),
        (["--mount", "type=bind,source=/a,target=/d,readonly=maybe"], "'maybe'"),
        (["--mount", "source=a/b,target=/d"], "invalid volume name 'a/b'"),
        (["--mount", "target=/d,volume-driver=nfs"], "unknown volume driver 'nfs'"),
        (["--mount", 'type=bind,"source=/a'], "missing quote"),
        (["--mount", 'type=bind,"source=/a"x,target=/b'], "text behind a quote"),
        (["--tmpfs", "/t:size=lots"], "invalid size 'lots' in --tmpfs"),
        (["--tmpfs", "/t:mode=9"], "invalid mode '9'"),
        (["--tmpfs", "t"], "invalid target 't'"),
        (["-e", "=x"], "invalid environment variable '=x'"),
        (["-e", "A B=x"], "invalid environment variable 'A B=x'"),
        (["--env-file", "/no/such"], "cannot read /no/such"),
        (["-l", "=x"], "invalid value '=x' for --label"),
        (["--sysctl", "a"], "invalid value 'a' for --sysctl"),
        (["--ulimit", "nofile"], "'nofile' for --ulimit"),
        (["--ulimit", "nofile=a"], "'nofile=a' for --ulimit"),
        (["--ulimit", "nofile=3:2"], "'nofile=3:2' for --ulimit"),
        (["--ulimit", "nofile=-1:2"], "'nofile=-1:2' for --ulimit"),
        (["--restart", "sometimes"], "'sometimes'"),
        (["--restart", "always:3"], "'always:3'"),
        (["--restart", "on-failure:x"], "'on-failure:x'"),
        (["--restart", "on-failure:"], "'on-failure:'"),
        (["--rm", "--restart", "always"], "--rm and --restart always exclude"),
        (["--log-opt", "max-file=0"], "'max-file=0' for --log-opt"),
        (["--log-opt", "tag=x"], "'tag=x' for --log-opt"),
        (["--log-opt", "max-size=x"], "'x'"),
        (["--security-opt", "magic"], "'magic' for --security-opt"),
        (["--security-opt", "no-new-privileges=perhaps"], "'no-new-privileges=perhaps'"),
        (["--dns", "dns.example"], "'dns.example' in --dns"),
        (["--add-host", "a"], "'a' for --add-host"),
        (["--add-host", "a:b"], "invalid address 'b'"),
        (["--network", "none", "--network", "web"], "exclude each other"),
        (["--network", "none", "--network", "host"], "exclude each other"),
        (["--network", "host", "--ip", "10.0.0.1"], "takes no alias"),
        (["--network", "wlan:x"], "'wlan:x' for --network"),
        (["--network", "guest:"], "'guest:' for --network"),
        (["--network", "name=web,color=red"], "unknown key 'color'"),
        (["--network", "alias=a"], "names no network"),
        (["--network", ""], "empty value for --network"),
        (["--ip", "10.0.0"], "invalid address '10.0.0' in --ip"),
        (["--no-healthcheck", "--health-cmd", "x"], "exclude each other"),
        (["--pids-limit", "-2"], "invalid value -2 for --pids-limit"),
        (["-c", "-1"], "invalid value -1 for --cpu-shares"),
    ],
)
def test_what_is_refused_names_what_was_typed(words: list[str], part: str) -> None:
    assert part in refused(*words, "x")


def test_pull_always_is_refused_with_the_reason() -> None:
    with pytest.raises(Unsupported, match="registry"):
        spec("--pull", "always", "x")
    assert spec("--pull", "never", "x") == spec("--pull", "missing", "x") == spec("x")
