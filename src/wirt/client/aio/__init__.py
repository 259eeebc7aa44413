"""The async client, for programs: needs aiohttp and msgspec, unlike the rest of ``wirt.client``."""

from wirt.client.aio.client import Client

__all__ = ["Client"]
