"""A parser of Prometheus' text format, stricter than its own."""

from __future__ import annotations

import re

Sample = tuple[str, frozenset[tuple[str, str]]]
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')


def parse(document: str) -> dict[Sample, float]:
    """As https://prometheus.io/docs/instrumenting/exposition_formats/ has it: every family once,
    with its type before its samples, and no sample twice."""
    assert document.endswith("\n")
    found: dict[Sample, float] = {}
    family, families = "", set()
    for line in document[:-1].split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in families
            families.add(family)
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2:] == [family, "gauge"]
        else:
            name = _NAME.match(line)
            assert name is not None
            assert name[0] == family
            rest, labels = line[name.end() :], {}
            if rest.startswith("{"):
                inside, rest = rest[1:].rsplit("}", 1)
                at = 0
                while at < len(inside):
                    label = _LABEL.match(inside, at)
                    assert label is not None, inside[at:]
                    assert label[1] not in labels
                    labels[label[1]] = re.sub(
                        r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), label[2]
                    )
                    at = label.end()
            assert rest.startswith(" ")
            key = (family, frozenset(labels.items()))
            assert key not in found
            found[key] = float(rest[1:])
    return found
