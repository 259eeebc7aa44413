"""Looking at registries without taking anything: an image's facts, searches, whether a login is
good."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from wirt.errors import Forbidden, Invalid, NotFound, Upstream
from wirt.host.registries import Registries
from wirt.host.resolve import Resolve
from wirt.image import catalog, document, platform
from wirt.image.document import MAX_DOCUMENT, Object
from wirt.image.manifest import Index
from wirt.image.remote.auth import ANONYMOUS, Credentials
from wirt.image.remote.door import Ask, Door
from wirt.image.remote.repository import next_page
from wirt.image.remote.source import Source
from wirt.model.image import DEFAULT_DOMAIN, Reference

_HUB_SEARCH = URL("https://index.docker.io/v1/search")
MOST = 100
"""Results of a search."""
_PAGES = 50
_MAX_RESULTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LookWish:
    """An image at its registry. ``platform``: whose configuration; empty for this host's."""

    reference: str
    platform: str = ""
    credentials: Credentials = field(default=ANONYMOUS, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchWish:
    """``term``: as typed; ``HOST[:PORT]/TERM`` searches that registry. ``limit``: 1 to 100."""

    term: str
    limit: int = 25
    credentials: Credentials = field(default=ANONYMOUS, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginWish:
    """Credentials to be tried at a registry."""

    registry: str
    credentials: Credentials = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One result of a search."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteImage:
    """What a registry says of an image. ``document``: what the name means, as JSON. ``raw``: the
    configuration for the platform, None when the index has none for it."""

    reference: str
    digest: str
    media_type: str
    size: int
    platforms: tuple[str, ...]
    document: dict[str, Any]
    raw: dict[str, Any] | None = None


class Look:
    """``image inspect --remote``, ``search`` and ``login``."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    async def inspect(self, wish: LookWish) -> RemoteImage:
        """An image at its registry. Raises NotFound, Invalid, Upstream."""
        name = Reference.parse(wish.reference)
        source = self._registries.source(name, wish.credentials)
        fetched = await source.manifest(name.digest or name.tag)
        top = catalog.read(fetched.data, fetched.digest, fetched.media_type)
        platforms: tuple[str, ...] = ()
        if isinstance(top.content, Index):
            platforms = tuple(str(e.platform) for e in top.content.manifests if e.platform)
        raw = await self._configuration(source, str(fetched.digest), wish)
        if raw is not None and not platforms:
            platforms = (f"{raw.get('os', '')}/{raw.get('architecture', '')}",)
        return RemoteImage(
            reference=str(name),
            digest=str(fetched.digest),
            media_type=fetched.media_type,
            size=len(fetched.data),
            platforms=platforms,
            document=document.parse(fetched.data, "manifest"),
            raw=raw,
        )

    async def _configuration(self, source: Source, digest: str, wish: LookWish) -> Object | None:
        wanted = platform.parse(wish.platform) if wish.platform else None
        try:
            resolved = await Resolve(source, wanted=wanted).run(digest)
        except (NotFound, Invalid):
            if wanted is not None:
                raise
            return None  # no image of this host, or no image at all: there is no configuration
        config = resolved.manifest.config
        if config.size > MAX_DOCUMENT:
            raise document.refuse("image configuration", "it is too large")
        data = b"".join([piece async for piece in source.blob(config)])
        if hashlib.new(config.digest.algorithm, data).hexdigest() != config.digest.encoded:
            raise document.refuse("image configuration", "it is not what its digest says")
        return document.parse(data, "image configuration")

    async def login(self, wish: LoginWish) -> str:
        """Whether the credentials are good; an identity token to keep in their place, or "".

        Raises Forbidden when they are not.
        """
        door = self._registries.door(wish.registry, wish.credentials)
        ask = Ask(method="GET", where="", what="its API")
        try:
            async with door.ask(ask):
                return door.auth.refresh_token
        except Forbidden as error:
            raise Forbidden(
                f"{wish.registry} refuses this user name and password",
                hint="are both right?",
                code=error.code,
            ) from error

    async def search(self, wish: SearchWish) -> list[Found]:
        """Repositories by a word of their name. Raises Invalid, Upstream."""
        if not wish.term or not 1 <= wish.limit <= MOST:
            raise Invalid("nothing to search for", hint=f"write a word; --limit is 1 to {MOST}")
        host, slash, term = wish.term.partition("/")
        if slash and ("." in host or ":" in host or host == "localhost"):
            return await self._catalog(self._registries.door(host, wish.credentials), term, wish)
        return await self._hub(wish)

    async def _hub(self, wish: SearchWish) -> list[Found]:
        door = self._registries.door(DEFAULT_DOMAIN)
        query = {"q": wish.term, "n": str(wish.limit)}
        ask = Ask(method="GET", where=_HUB_SEARCH, what="the search", query=query)
        data, _ = await door.document(ask, limit=MAX_DOCUMENT)
        node = document.parse(data, "search result")
        return [
            Found(
                name=document.string(one, "name", "search result"),
                description=document.string(one, "description", "search result"),
                stars=document.integer({"star_count": 0, **one}, "star_count", "search result"),
                official=one.get("is_official") is True,
            )
            for one in document.objects(node, "results", "search result", most=_MAX_RESULTS)
        ][: wish.limit]

    async def _catalog(self, door: Door, term: str, wish: SearchWish) -> list[Found]:
        """Other registries have no search, but may list their repositories."""
        found: list[str] = []
        where: str | URL = "_catalog"
        scopes = frozenset({"registry:catalog:*"})
        for _ in range(_PAGES):
            ask = Ask(method="GET", where=where, what="the list of repositories", scopes=scopes)
            try:
                data, headers = await door.document(ask, limit=MAX_DOCUMENT)
            except NotFound as error:
                raise Upstream(
                    f"{door.endpoint.host} neither searches nor lists its repositories",
                    code="registry.no-search",
                ) from error
            names = document.strings(document.parse(data, "catalog"), "repositories", "catalog")
            found += [name for name in names if term in name]
            page = next_page(URL(f"{door.base}_catalog"), headers.get("Link", ""))
            if page is None or len(found) >= wish.limit:
                break
            where = page
        return [Found(name=f"{door.endpoint.domain}/{name}") for name in found[: wish.limit]]
