"""Manifests, indexes and configurations: what is read, what is refused, and what survives."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid, NotFound, Unsupported, WirtError
from wirt.image import config, document, manifest, platform
from wirt.image.manifest import OCI_INDEX, OCI_MANIFEST, Index, Manifest
from wirt.image.platform import Platform
from wirt.model.image import Digest, ImageConfig, Reference

HEX = "0123456789abcdef" * 4
DESCRIPTOR: dict[str, Any] = {
    "mediaType": manifest.OCI_CONFIG,
    "digest": f"sha256:{HEX}",
    "size": 5,
}
LAYER = {**DESCRIPTOR, "mediaType": manifest.OCI_LAYER + "+gzip"}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [LAYER]}
CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "created": "2024-05-06T07:08:09.123456789+02:00",
    "config": {
        "User": "1:2", "Env": ["A=b"], "Entrypoint": ["e"], "Cmd": None, "WorkingDir": "/w",
        "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "Labels": {"l": "m"},
        "StopSignal": "SIGINT", "Healthcheck": {"Test": ["CMD", "x"]}, "OnBuild": ["RUN y"],
    },
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{HEX}"]},
    "history": [{"created_by": "x"}, {"created_by": "y", "empty_layer": True}],
    "unknown": {"kept": True},
}  # fmt: skip


BAD_DESCRIPTORS: tuple[dict[str, Any], ...] = (
    {"size": -1}, {"size": "5"}, {"size": True}, {"size": 2**63}, {"size": 1.5}, {"size": None},
    {"digest": ""}, {"digest": f"sha256:{HEX.upper()}"}, {"digest": f"sha1:{HEX[:40]}"},
    {"digest": f"sha256:{HEX}/../x"}, {"digest": f"sha256:{HEX}\n"}, {"annotations": {"a": 1}},
    {"annotations": []}, {"data": "!"}, {"data": base64.b64encode(b"other").decode()},
    {"platform": 1}, {"mediaType": ""},
)  # fmt: skip


def dump(node: Any) -> bytes:
    return json.dumps(node).encode()


def changed(node: dict[str, Any], **changes: Any) -> bytes:
    return dump({**node, **changes})


def test_a_manifest_is_read() -> None:
    found = manifest.parse(dump(MANIFEST), OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert found.config.digest == Digest("sha256", HEX)
    assert manifest.parse(manifest.encode_manifest(found), OCI_MANIFEST) == found


@pytest.mark.parametrize(
    "data",
    [
        changed(MANIFEST, manifests=[]),
        changed(MANIFEST, fsLayers=[]),
        changed(MANIFEST, schemaVersion=1),
        changed(MANIFEST, schemaVersion=True, manifests=[]),
        changed(MANIFEST, mediaType=OCI_INDEX),
        changed(MANIFEST, mediaType=7),
        changed(MANIFEST, config=None),
        changed(MANIFEST, config=[]),
        changed(MANIFEST, layers={}),
        changed(MANIFEST, layers=["x"]),
        changed(MANIFEST, layers=[LAYER] * 2001),
        changed(MANIFEST, subject="x"),
        changed(MANIFEST, subject={**DESCRIPTOR, "size": -1}),
        changed(MANIFEST, artifactType=7),
        changed(MANIFEST, annotations={"a": 1}),
        *(changed(MANIFEST, layers=[{**LAYER, **bad}]) for bad in BAD_DESCRIPTORS),
    ],
)
def test_bad_manifests_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        manifest.parse(data, OCI_MANIFEST)


def test_embedded_data_must_be_the_content() -> None:
    data = b"hello"
    descriptor = {
        **DESCRIPTOR,
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "data": base64.b64encode(data).decode(),
    }
    assert manifest.parse(changed(MANIFEST, config=descriptor), OCI_MANIFEST)


def test_foreign_types_are_unsupported() -> None:
    odd = {**LAYER, "mediaType": "application/wasm"}
    found = manifest.parse_manifest(changed(MANIFEST, layers=[odd]), media_type=OCI_MANIFEST)
    with pytest.raises(Unsupported, match="application/wasm"):
        manifest.check_image(found)
    found = manifest.parse_manifest(
        changed(MANIFEST, layers=[LAYER] * 501), media_type=OCI_MANIFEST
    )
    with pytest.raises(Invalid, match="501 layers"):
        manifest.check_image(found)
    with pytest.raises(Unsupported):
        manifest.parse(dump(MANIFEST), "application/vnd.docker.distribution.manifest.v1+json")


def test_an_artifact_is_read_and_written() -> None:
    said = {
        "artifactType": "application/x.note",
        "subject": {**DESCRIPTOR, "mediaType": OCI_MANIFEST},
        "annotations": {"a": "b"},
    }
    config_type = {**DESCRIPTOR, "mediaType": "application/vnd.oci.empty.v1+json"}
    found = manifest.parse_manifest(
        changed(MANIFEST, config=config_type, **said), media_type=OCI_MANIFEST
    )
    assert not manifest.is_image(found)
    assert (found.artifact_type, found.annotations) == ("application/x.note", {"a": "b"})
    assert found.subject is not None
    assert str(found.subject.digest) == DESCRIPTOR["digest"]
    assert manifest.parse(manifest.encode_manifest(found), OCI_MANIFEST) == found
    index = manifest.parse_index(dump({"schemaVersion": 2, "manifests": [], **said}))
    assert manifest.parse(manifest.encode_index(index), OCI_INDEX) == index
    with pytest.raises(Invalid, match="no image to run"):
        manifest.check_image(found)


def test_an_index_is_read() -> None:
    entry = {**DESCRIPTOR, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}
    found = manifest.parse(dump({"schemaVersion": 2, "manifests": [entry]}), OCI_INDEX)
    assert isinstance(found, Index)
    assert str(found.manifests[0].platform) == "linux/arm64/v8"
    assert manifest.parse(manifest.encode_index(found), OCI_INDEX) == found
    with pytest.raises(Invalid, match="layers"):
        manifest.parse(dump({"schemaVersion": 2, "manifests": [], "layers": []}), OCI_INDEX)


def test_a_configuration_is_read() -> None:
    found = config.parse(dump(CONFIG))
    assert found.created_at == 1_714_972_089_123_456_789
    assert found.config == ImageConfig(
        user="1:2", env=("A=b",), entrypoint=("e",), cmd=(), working_dir="/w",
        labels={"l": "m"}, stop_signal="SIGINT", exposed_ports=("80/tcp",), volumes=("/v",),
        healthcheck={"Test": ["CMD", "x"]},
    )  # fmt: skip
    assert [step.empty for step in found.history] == [False, True]
    assert config.parse(config.encode(found)) == found
    assert config.parse(changed(CONFIG, config=None)).config == ImageConfig()
    assert config.parse(changed(CONFIG, config={"Cmd": "old form"})).config.cmd == ("old form",)


@pytest.mark.parametrize(
    "data",
    [
        changed(CONFIG, rootfs=None),
        changed(CONFIG, rootfs={"type": "other", "diff_ids": []}),
        changed(CONFIG, rootfs={"type": "layers", "diff_ids": ["x"]}),
        changed(CONFIG, rootfs={"type": "layers", "diff_ids": [f"sha256:{HEX}"] * 501}),
        changed(CONFIG, config={"Env": "A=b"}),
        changed(CONFIG, config={"Env": ["A=\0"]}),
        changed(CONFIG, config={"Labels": {"a": 1}}),
        changed(CONFIG, config={"User": 0}),
        changed(CONFIG, history={}),
        changed(CONFIG, os=1),
    ],
)
def test_bad_configurations_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        config.parse(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("2000-01-01T00:00:00.5+00:00", 946_684_800_500_000_000),
        ("0001-01-01T00:00:00Z", 0), ("1969-12-31T23:59:59Z", 0), ("2024-13-01T00:00:00Z", 0),
        ("yesterday", 0), ("", 0),
    ],
)  # fmt: skip
def test_times(text: str, expected: int) -> None:
    assert config.parse(changed(CONFIG, created=text)).created_at == expected
    if expected:
        assert config.parse(changed(CONFIG, created=config.format_time(expected))).created_at


def test_chain_ids_follow_the_specification() -> None:
    one, two = Digest("sha256", "a" * 64), Digest("sha256", "b" * 64)
    both = hashlib.sha256(f"{one} {two}".encode()).hexdigest()
    assert config.chain_ids((one, two)) == (str(one), f"sha256:{both}")
    assert config.chain_ids(()) == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size",
             "rootfs", "type", "diff_ids", "history", "Env", "Cmd", "Labels", "platform", "data"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(json_values)
def test_any_json_is_read_or_refused(node: Any) -> None:
    data = dump(node)
    for read in (
        lambda: manifest.parse(data, OCI_MANIFEST),
        lambda: manifest.parse(data, OCI_INDEX),
        lambda: config.parse(data),
    ):
        with contextlib.suppress(Invalid, Unsupported):
            read()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(document.parse(data, "thing"), dict)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    with contextlib.suppress(Invalid):
        found = Digest.parse(text)
        assert str(found) == text
        assert "/" not in found.encoded


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abcXYZ019._-:/@ \n", max_size=30))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    with contextlib.suppress(WirtError):
        found = Reference.parse(text)
        assert Reference.parse(str(found)) == found
        assert Reference.parse(found.familiar) == found


HERE = Platform(os="linux", architecture="amd64")


@pytest.mark.parametrize(
    ("text", "runs"),
    [("linux/amd64", True), ("linux/386", True), ("linux/arm64", False), ("windows/amd64", False)],
)
def test_which_platforms_run_here(text: str, runs: bool) -> None:
    assert platform.runs(platform.parse(text), HERE) is runs


def test_the_best_platform_is_chosen() -> None:
    offers = [(platform.parse(p), p) for p in ("linux/386", "linux/arm64", "linux/amd64")]
    unknown = (Platform(os="unknown", architecture="unknown"), "attestation")
    assert platform.choose([unknown, *offers], HERE, what="x")[1] == "linux/amd64"
    assert platform.choose(offers[:2], HERE, what="x")[1] == "linux/386"
    assert platform.choose([offers[1]], HERE, what="x")[1] == "linux/arm64"
    foreign = [(platform.parse(p), p) for p in ("linux/s390x", "linux/arm64")]
    with pytest.raises(NotFound, match="linux/amd64"):
        platform.choose(foreign, HERE, what="x")


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "li nux/x", "../x"])
def test_bad_platforms(text: str) -> None:
    with pytest.raises(Invalid):
        platform.parse(text)
