"""Who may do what: rules by patterns of users and repositories, read from a TOML text.

::

    [[rule]]
    users = ["alice", "ci-*"]          # "*": whoever is logged in; "anonymous": everybody
    repositories = ["team/**"]         # "*" stays within one component, "**" does not
    rights = ["pull", "push"]          # pull, create, push, delete

``push`` includes ``create``, and only it may move a tag that exists. What no rule gives is denied.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wirt.errors import Invalid
from wirt.model.registry import ANYBODY, Listener, Right

EVERYTHING = frozenset(Right)
_ANONYMOUS = {"none": frozenset[Right](), "pull": frozenset({Right.PULL}), "all": EVERYTHING}
_ANYBODY_WORD = "anonymous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Rights of users, given as patterns, to repositories, given as patterns."""

    users: tuple[re.Pattern[str], ...]
    anybody: bool
    repositories: tuple[re.Pattern[str], ...]
    rights: frozenset[Right]

    def covers(self, user: str, repository: str) -> bool:
        """Whether it speaks of this user and repository."""
        known = user != ANYBODY and any(p.fullmatch(user) for p in self.users)
        return (known or self.anybody) and any(p.fullmatch(repository) for p in self.repositories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rights of one listener. ``rules``: None when whoever is logged in may do everything."""

    anonymous: frozenset[Right]
    rules: tuple[Rule, ...] | None

    @classmethod
    def of(cls, listener: Listener) -> Access:
        """Raises Invalid for a policy that cannot be understood."""
        try:
            anonymous = _ANONYMOUS[listener.anonymous]
        except KeyError:
            raise Invalid(
                f"--anonymous {listener.anonymous[:40]!r} is none of its values",
                hint="write pull, none or all",
            ) from None
        rules = parse(listener.policy) if listener.policy else None
        return cls(anonymous=anonymous, rules=rules)

    def rights(self, user: str, repository: str) -> frozenset[Right]:
        """What a user may do with a repository."""
        if self.rules is None:
            return self.anonymous if user == ANYBODY else EVERYTHING
        found = set(self.anonymous)
        for rule in self.rules:
            if rule.covers(user, repository):
                found |= rule.rights
        if Right.PUSH in found:
            found.add(Right.CREATE)
        return frozenset(found)


def parse(text: str) -> tuple[Rule, ...]:
    """The rules of a policy. Raises Invalid naming the rule that is wrong."""
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _refuse(str(error)[:200]) from error
    unknown = set(tree) - {"rule"}
    if unknown:
        raise _refuse(f"unknown key {min(unknown)[:40]!r}")
    rules = tree.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise _refuse("'rule' is no list of tables")
    return tuple(_rule(number, rule) for number, rule in enumerate(rules, 1))


def _rule(number: int, node: dict[str, Any]) -> Rule:
    unknown = set(node) - {"users", "repositories", "rights"}
    if unknown:
        raise _refuse(f"rule {number} has the unknown key {min(unknown)[:40]!r}")
    users, repositories, rights = (
        _texts(number, node, key) for key in ("users", "repositories", "rights")
    )
    names = {right.value for right in Right}
    for text in rights:
        if text not in names:
            raise _refuse(f"rule {number} gives the unknown right {text[:40]!r}")
    return Rule(
        users=tuple(pattern(text) for text in users if text != _ANYBODY_WORD),
        anybody=_ANYBODY_WORD in users,
        repositories=tuple(pattern(text) for text in repositories),
        rights=frozenset(Right(text) for text in rights),
    )


def _texts(number: int, node: dict[str, Any], key: str) -> list[str]:
    value = node.get(key)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value) or not value:
        raise _refuse(f"rule {number} lacks '{key}', a list of texts")
    return value


def _refuse(why: str) -> Invalid:
    return Invalid(
        f"the policy is refused: {why}",
        hint="a rule is [[rule]] with the lists users, repositories and rights",
        code="registry.policy",
    )


def pattern(text: str) -> re.Pattern[str]:
    """``*`` is anything without a slash, ``**`` anything; all else is meant literally."""
    parts: Iterable[str] = re.split(r"(\*\*|\*)", text[:300])
    meaning = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts), re.DOTALL)
