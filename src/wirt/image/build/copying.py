"""COPY and ADD: from sources in trees to the members of one layer.

Pure: what the root file system already has comes in as a :class:`Ground`, what the layer shall
hold goes out as values. The rules are those of BuildKit's reference of ``COPY`` and ``ADD``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wirt.errors import Invalid, NotFound
from wirt.image.build.dockerfile.mode import Mode
from wirt.image.build.tree import Entry, Tree, clean
from wirt.model.ignore import Ignore, is_wild
from wirt.model.ignore import clean as clean_rule
from wirt.tar.member import Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one written source names. ``tree``: where it is. ``pattern``: as written, ``..``
    clamped later. ``unpacked``: the tree is an archive's content, to be poured out whole.
    ``what``: what to call the tree in errors (``the build context``)."""

    tree: Tree
    pattern: str
    what: str
    unpacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The flags of the instruction. ``several``: more than one source was written."""

    destination: str
    chmod: Mode | None = None
    parents: bool = False
    exclude: tuple[str, ...] = ()
    several: bool = False
    keeps_owner: bool = False
    """The sources' owners stay (copies from stages and images), unless ``--chown`` says other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file to copy. ``below``: its path below the destination, ``""`` for the destination
    itself. ``entry``: what it is, mode and owner as they shall be."""

    tree: Tree
    entry: Entry
    below: str
    keeps_owner: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """All items of an instruction. ``into``: the destination is a directory for certain.

    ``single``: exactly one file, whose place depends on what the destination is."""

    items: tuple[Item, ...]
    into: bool

    @property
    def directories(self) -> list[str]:
        """Paths below the destination where directories must be."""
        found = {item.below for item in self.items if item.entry.type is Type.DIRECTORY}
        for item in self.items:
            above = posixpath.dirname(item.below)
            while above and above not in found:
                found.add(above)
                above = posixpath.dirname(above)
        return sorted(found - {""})

    @property
    def others(self) -> list[str]:
        """Paths below the destination where files will be."""
        return sorted(
            {i.below for i in self.items if i.entry.type is not Type.DIRECTORY and i.below}
        )


def pick(sources: Sequence[Source], rules: Rules) -> Picked:
    """Find all that the sources name. Raises NotFound naming a missing one, Invalid."""
    exclude = Ignore(clean_rule(rule) for rule in rules.exclude)
    items: dict[str, Item] = {}
    into = rules.several or rules.destination.endswith(("/", "/.")) or rules.destination == "."
    found_any = False
    for source in sources:
        for path, base in _matches(source, rules):
            found_any = True
            into = into or source.unpacked or rules.parents or is_wild(source.pattern)
            for item in _expand(source, path, base, rules):
                if item.entry.type is Type.DIRECTORY and not item.below:
                    into = True
                if not (exclude and exclude.leaves_out(_seen_by_exclude(item, rules))):
                    items[item.below or f"\0{item.entry.name}"] = item
    if not found_any:
        raise _nothing(sources)
    return Picked(items=tuple(_named(item, into) for item in items.values()), into=into)


def _named(item: Item, into: bool) -> Item:
    """A file for the destination itself keeps its name when the destination is a directory."""
    if item.below or item.entry.type is Type.DIRECTORY or not into:
        return item
    return replace(item, below=item.entry.name)


def _seen_by_exclude(item: Item, rules: Rules) -> str:
    """``--exclude`` is matched against paths below a copied directory, or the whole path."""
    return item.below or item.entry.name if not rules.parents else item.entry.path


def _matches(source: Source, rules: Rules) -> Iterator[tuple[str, str]]:
    """Paths that a source names, and for ``--parents`` the part that is not kept."""
    base, pivot, rest = source.pattern.partition("/./") if rules.parents else ("", "", "")
    written = f"{base}/{rest}" if pivot else source.pattern
    if "**" in written.split("/") and not rules.parents:
        written = written.replace("**", "*")
    pattern = clean(written)
    kept = clean(base) if pivot else ""
    paths = source.tree.match(pattern)
    if not is_wild(pattern):
        try:
            found = source.tree.resolve(pattern)
        except NotFound:
            raise missing(source) from None
        if source.pattern.endswith("/") and found.type is not Type.DIRECTORY:
            raise Invalid(
                f"'{source.pattern}' is no directory in {source.what}",
                hint="leave the slash out",
                code="build.no-directory",
            )
    for path in paths:
        yield path, _front(path, kept) if pivot else ""


def _front(path: str, kept: str) -> str:
    """The first components of a path, as many as the part before the pivot has."""
    count = len(kept.split("/")) if kept else 0
    return "/".join(path.split("/")[:count])


def _expand(source: Source, path: str, base: str, rules: Rules) -> Iterator[Item]:
    """The items of one matched path: a file, or the content of a directory."""
    tree = source.tree
    try:
        found = tree.resolve(path)
    except NotFound:
        raise NotFound(
            f"'{path}' in {source.what} is a symlink that leads nowhere",
            hint="copy the directory that holds it to copy the link itself",
            code="build.no-source",
        ) from None
    keeps = rules.keeps_owner or source.unpacked
    prefix = ""
    if rules.parents:
        prefix = path[len(base) :].strip("/")
        yield from _parents(tree, path, prefix, keeps)
    if found.type is not Type.DIRECTORY:
        yield Item(tree=tree, entry=_dressed(found, rules), below=prefix, keeps_owner=keeps)
        return
    yield Item(tree=tree, entry=_dressed(found, rules), below=prefix, keeps_owner=keeps)
    start = len(found.path) + 1 if found.path else 0
    for entry in tree.walk(found.path):
        below = entry.path[start:]
        yield Item(
            tree=tree,
            entry=_dressed(entry, rules),
            below=f"{prefix}/{below}" if prefix else below,
            keeps_owner=keeps,
        )


def _parents(tree: Tree, path: str, prefix: str, keeps: bool) -> Iterator[Item]:
    """``--parents``: the directories above, with their own modes."""
    parts = prefix.split("/")
    for count in range(1, len(parts)):
        above = "/".join(parts[:count])
        whole = path[: len(path) - len(prefix)] + above
        entry = replace(tree.resolve(whole), xattrs=())
        yield Item(tree=tree, entry=entry, below=above, keeps_owner=keeps)


def _dressed(entry: Entry, rules: Rules) -> Entry:
    if rules.chmod is None or entry.type is Type.SYMLINK:
        return entry
    return replace(
        entry, mode=rules.chmod.apply(entry.mode, directory=entry.type is Type.DIRECTORY)
    )


def missing(source: Source) -> NotFound:
    """The error for a source that is not there."""
    return NotFound(
        f"there is no '{source.pattern}' in {source.what}",
        hint="paths start at its root; is it left out by .dockerignore?"
        if source.what == "the build context"
        else None,
        code="build.no-source",
    )


def _nothing(sources: Sequence[Source]) -> NotFound:
    patterns = ", ".join(f"'{source.pattern}'" for source in sources)
    what = sources[0].what if sources else "the build context"
    return NotFound(
        f"nothing in {what} matches {patterns}",
        hint="paths start at its root; is it left out by .dockerignore?",
        code="build.no-source",
    )


# --- where it goes ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the root file system has where the copy goes.

    ``path``: the destination with all symlinks followed, without leading slash. ``kind``:
    ``missing``, ``directory`` or ``other``. ``existing``: directories that are there, as paths
    below the destination. ``above``: how many components of ``path`` are there. ``obstacles``:
    what stands in the way, by path below the destination: ``directory`` or ``other``.
    """

    path: str
    kind: str = "missing"
    above: int = 0
    existing: frozenset[str] = frozenset()
    obstacles: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """``--chown`` as numbers."""

    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One member of the layer: ``path`` in the root file system."""

    path: str
    entry: Entry
    tree: Tree


def place(picked: Picked, ground: Ground, *, owner: Owner | None) -> list[Placed]:
    """The members of the layer, sorted. Raises Invalid when a file stands where a directory must
    be, or the reverse."""
    _check(picked, ground)
    into = picked.into or ground.kind == "directory"
    made: dict[str, Placed] = {}
    empty = Tree()

    def put(path: str, entry: Entry, tree: Tree, keeps: bool) -> None:
        if owner is not None:
            entry = replace(entry, uid=owner.uid, gid=owner.gid)
        elif not keeps:
            entry = replace(entry, uid=0, gid=0)
        made[path] = Placed(path=path, entry=entry, tree=tree)

    parts = [part for part in ground.path.split("/") if part]
    last = len(parts) if into else len(parts) - 1
    for count in range(ground.above + 1, last + 1):
        above = "/".join(parts[:count])
        put(above, Entry(path=above, type=Type.DIRECTORY, mode=0o755), empty, False)
    for item in picked.items:
        below = item.below
        if not below and into and item.entry.type is not Type.DIRECTORY:
            below = item.entry.name
        path = "/".join(p for p in (ground.path, below) if p)
        if item.entry.type is Type.DIRECTORY and (
            below in ground.existing or (not below and ground.kind == "directory")
        ):
            continue  # a directory that is there keeps its owner and mode
        if path:
            put(path, item.entry, item.tree, item.keeps_owner)
    return [made[path] for path in sorted(made)]


def _check(picked: Picked, ground: Ground) -> None:
    if ground.kind == "other" and picked.into:
        raise Invalid(
            f"'/{ground.path}' is a file in the image, but must be a directory for this copy",
            hint="copy to another place, or remove the file first",
            code="build.not-a-directory",
        )
    for below, kind in sorted((ground.obstacles or {}).items()):
        where = f"/{ground.path}/{below}".replace("//", "/")
        if kind == "directory":
            raise Invalid(
                f"'{where}' is a directory in the image, a file cannot take its place",
                hint="remove it first, or copy to another place",
                code="build.is-a-directory",
            )
        raise Invalid(
            f"'{where}' is no directory in the image, a directory cannot take its place",
            hint="remove it first; for a symlink, copy to where it leads",
            code="build.not-a-directory",
        )
