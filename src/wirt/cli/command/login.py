"""``wirt login``."""

from __future__ import annotations

import posix

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.output import STDERR, out, warn, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wirt.cli.docker_config import DockerConfig

LONGEST = 64 * 1024
"""Bytes of a password or token on standard input."""


def run(call: Call) -> int:
    """Try credentials at a registry and keep them in docker's file."""
    from wirt.cli.docker_config import HUB, DockerConfig, registry_name

    registry = registry_name(call.args[0] if call.args else HUB)
    config = DockerConfig()
    found = _typed(call, registry, config)
    told = call.daemon.call(
        "POST", "/v1/registries/login", {"registry": registry, "credentials": found}
    )
    if told["identity_token"]:
        found = {"username": found["username"], "identity_token": told["identity_token"]}
    helper = config.store(registry, found)
    if not helper:
        warn(
            f"the password is in {config.path}, readable for you only; a credential helper is safer"
        )
    out("Login Succeeded\n")
    return 0


def _typed(call: Call, registry: str, config: DockerConfig) -> dict[str, str]:
    """The credentials to try: flags first, then what is kept already, then questions."""
    user, password = call.text("username"), call.text("password")
    if call.on("password-stdin"):
        if password:
            raise misuse("--password and --password-stdin exclude each other")
        if not user:
            raise misuse("--password-stdin needs --username", hint="add -u NAME")
        password = _stdin()
    elif password:
        warn("a password on the command line is seen by everybody here; use --password-stdin")
    if not user and not password and (kept := config.credentials(registry)):
        out("Authenticating with existing credentials...\n")
        return kept
    if (not user or not password) and not (posix.isatty(0) and posix.isatty(STDERR)):
        raise misuse(
            "nobody is here to ask for a name and password",
            hint="write: wirt login -u NAME --password-stdin",
        )
    user = user or _ask("Username: ")
    password = password or _ask_secret("Password: ")
    if not user or not password:
        raise misuse("a login needs a name and a password")
    return {"username": user, "password": password}


def _stdin() -> str:
    data = b""
    while len(data) <= LONGEST and (more := posix.read(0, LONGEST)):
        data += more
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise misuse("the password on standard input is no UTF-8 text") from None
    if not text or len(data) > LONGEST:
        raise misuse("standard input has no password")
    return text


def _ask(question: str) -> str:
    write(STDERR, question.encode())
    return posix.read(0, LONGEST).decode("utf-8", "replace").rstrip("\r\n")


def _ask_secret(question: str) -> str:
    import termios

    saved = termios.tcgetattr(0)
    quiet = termios.tcgetattr(0)
    quiet[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(0, termios.TCSAFLUSH, quiet)
        return _ask(question)
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, saved)
        write(STDERR, b"\n")


COMMAND = Command(
    "login",
    summary="Log in to a registry; the credentials are kept where docker keeps them",
    arguments="[REGISTRY]",
    takes=(0, 1),
    flags=(
        Flag("password", "p", value="TEXT", help="Password; better on standard input"),
        Flag("password-stdin", kind="bool", help="Read the password from standard input"),
        Flag("username", "u", value="NAME", help="User"),
    ),
    run=run,
)
