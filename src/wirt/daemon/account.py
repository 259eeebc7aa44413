"""Become the unprivileged account. Done once, before anything from outside is read."""

from __future__ import annotations

import os
import pwd

from wirt.errors import NotFound


def become(user: str) -> None:
    """Change to this account (name or number) with its groups; for good.

    Raises NotFound when there is no such account. Nothing happens when we are it already.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise NotFound(
            f"there is no account {user!r} on this host",
            hint=f"'useradd --system {user}' makes one",
        ) from None
    if os.getuid() == entry.pw_uid:
        return
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
