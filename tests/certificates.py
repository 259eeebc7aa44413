"""Keys and certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Pair:
    """``cert`` and its ``key``, PEM."""

    cert: Path
    key: Path


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def self_signed(folder: Path, name: str, *, days: int = 2) -> Pair:
    """A certificate that vouches for itself; it may sign others."""
    made = Pair(cert=folder / f"{name}.pem", key=folder / f"{name}.key")
    _openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", made.key, "-out", made.cert,
        "-days", str(days), "-subj", f"/CN={name}",
    )  # fmt: skip
    return made


def signed(
    folder: Path, name: str, ca: Pair, *, names: str = "IP:127.0.0.1", days: int = 2
) -> Pair:
    """A certificate for these names (``IP:...``, ``DNS:...``) that a CA has signed. One of 0 days
    is good for a second."""
    made = Pair(cert=folder / f"{name}.pem", key=folder / f"{name}.key")
    request, more = folder / f"{name}.csr", folder / f"{name}.ext"
    more.write_text(f"subjectAltName={names}\n")
    _openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-keyout", made.key, "-out", request,
        "-subj", f"/CN={name}",
    )  # fmt: skip
    _openssl(
        "x509", "-req", "-in", request, "-CA", ca.cert, "-CAkey", ca.key, "-CAcreateserial",
        "-out", made.cert, "-days", str(days), "-extfile", more,
    )  # fmt: skip
    return made
