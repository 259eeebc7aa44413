"""What is below a layer of which only the chain id and the diff id are known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

Chain = tuple[str, ...]


def chain_of(base: Chain, diff_id: str) -> str:
    """The chain id of a layer on top of ``base`` (OCI image specification, config.md)."""
    if not base:
        return diff_id
    return f"sha256:{hashlib.sha256(f'{base[-1]} {diff_id}'.encode()).hexdigest()}"


def lineage(diff_ids: Mapping[str, str], known: Mapping[str, Chain]) -> dict[str, Chain]:
    """The layers below each of ``diff_ids`` (by chain id), base first. ``known``: the same of
    further layers, on which these may lie.

    A chain id is a hash of what is below and the diff id, so what is below is found by trying.
    Those of which it is nowhere any more are left out. Takes as many hashes as there are pairs.
    """
    found: dict[str, Chain] = {}
    tops: dict[str, Chain] = {"": (), **{name: (*below, name) for name, below in known.items()}}
    while tops:
        fresh: dict[str, Chain] = {}
        for chain_id, diff_id in diff_ids.items():
            if chain_id in found:
                continue
            for below in tops.values():
                if chain_of(below, diff_id) == chain_id:
                    found[chain_id] = below
                    fresh[chain_id] = (*below, chain_id)
                    break
        tops = fresh
    return found
