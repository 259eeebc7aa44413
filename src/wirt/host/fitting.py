"""Whether an image fits: the platform that was asked for, and this host."""

from __future__ import annotations

from wirt.errors import Invalid, NotFound, Unsupported
from wirt.image import platform
from wirt.image.platform import Platform
from wirt.linux.emulation import emulates
from wirt.model.guest import Isolation
from wirt.model.image import Image, Reference


def runs_here(place: Platform, isolation: Isolation) -> bool:
    """Whether guests of this kind run programs for a platform here. Containers may be emulated, a
    machine has this host's processor."""
    machine = platform.host()
    if platform.runs(place, machine):
        return True
    emulated = isolation is Isolation.CONTAINER and place.os == machine.os
    return emulated and emulates(place.architecture)


def check_runs_here(image: Image, isolation: Isolation) -> None:
    """Raise Unsupported for an image of another processor or system that nothing emulates."""
    place = Platform(os=image.os, architecture=image.architecture)
    if runs_here(place, isolation):
        return
    raise Unsupported(
        f"the image is for {place}, this host is {platform.host()}",
        hint=EMULATORS
        if isolation is Isolation.CONTAINER
        else "use an image for this platform: a machine has this host's processor",
        code="image.platform",
    )


EMULATORS = (
    "use an image for this platform, or install an emulator that binfmt_misc knows with the flag F "
    "(Debian: qemu-user-static)"
)


def check_is_for(image: Image, name: str, wanted: str) -> None:
    """Raise NotFound when the image that ``name`` means is not for the platform ``wanted``; by its
    code (``image.other-platform``) whether the name's registry may have one that is."""
    place = platform.parse(wanted)
    if (image.os or "linux", image.architecture) == (place.os, place.architecture):
        return
    named = _means(name, image)
    raise NotFound(
        f"the image {name[:200]!r} here is for {image.os or 'linux'}/{image.architecture}, not for "
        f"{place}",
        hint=f"get it by: wirt pull --platform {place} {name[:200]}" if named else None,
        code="image.other-platform" if named else "image.platform",
    )


def _means(text: str, image: Image) -> bool:
    """Whether a text is a name of the image, and not its id."""
    try:
        return str(Reference.parse(text)) in image.references
    except Invalid:
        return False
