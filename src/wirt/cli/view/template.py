"""The subset of Go's text/template that people use with ``--format``.

Fields (``.State.Pid``; case and underscores do not matter, so ``.ExitCode`` finds ``exit_code``),
``$`` and variables of ``range``, ``if``/``else if``/``else``, ``range``, ``with``, pipes,
parentheses, and the functions of :data:`~wirt.cli.view.functions.FUNCTIONS`. Go's documentation of
text/template is the reference; whatever is outside of the subset is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

from wirt.cli.flags import misuse
from wirt.cli.output import visible
from wirt.cli.view.functions import FUNCTIONS, go_text, truth

_TOKEN = re.compile(
    r"""\s+ | (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`) | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<field>(?:\.[A-Za-z_][\w-]*)+) | (?P<dot>\.) | (?P<variable>\$\w*)
    | (?P<word>[A-Za-z_]\w*) | (?P<mark>:=|[|(),])""",
    re.VERBOSE,
)
_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_MAX_DEPTH = 50

Scope = dict[str, Any]
Node = Callable[["Scope"], str]
Value = Callable[["Scope"], Any]
Token = tuple[str, str]


class Template:
    """A parsed template. Raises Invalid, naming the fault, for text that is none."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._pieces = self._cut(source)
        self._position = 0
        self._depth = 0
        self._node = self._block(())
        if self._position < len(self._pieces):
            self._fail(f"unexpected {{{{{self._pieces[self._position][1]}}}}}")

    def render(self, data: Any) -> str:
        """The text made from ``data``. Raises Invalid for fields that it does not have."""
        return self._node({".": data, "$": data})

    def _fail(self, why: str) -> NoReturn:
        raise misuse(f"invalid template {self._source!r}: {why}", hint="write as '{{.Name}}'")

    def _cut(self, source: str) -> list[tuple[bool, str]]:
        """``(is an action, text)`` pieces; ``{{-`` and ``-}}`` trim the text beside them."""
        pieces: list[tuple[bool, str]] = []
        position = 0
        trim = False
        for found in _ACTION.finditer(source):
            text = source[position : found.start()]
            text = text.lstrip() if trim else text
            pieces.append((False, text.rstrip() if found[1] else text))
            body = found[2].strip()
            if not body.startswith("/*"):
                pieces.append((True, body))
            trim = bool(found[3])
            position = found.end()
        rest = source[position:]
        if "{{" in rest:
            self._fail("'{{' is not closed")
        pieces.append((False, rest.lstrip() if trim else rest))
        return [piece for piece in pieces if piece[0] or piece[1]]

    # --- blocks ---

    def _block(self, ends: tuple[str, ...]) -> Node:
        """Everything up to an action whose first word is in ``ends``; that stays the next piece."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail("it is nested too deeply")
        nodes: list[Node] = []
        while self._position < len(self._pieces):
            is_action, text = self._pieces[self._position]
            word = text.split(maxsplit=1)[0] if is_action and text else ""
            if word in ends:
                break
            if is_action and word in {"else", "end"}:
                self._fail(f"unexpected {{{{{word}}}}}")
            self._position += 1
            nodes.append(self._action(word, text) if is_action else _constant(text))
        else:
            if ends:
                self._fail("{{end}} is missing")
        self._depth -= 1
        return lambda scope: "".join(node(scope) for node in nodes)

    def _action(self, word: str, text: str) -> Node:
        rest = text[len(word) :]
        if word == "if":
            return self._if(rest)
        if word == "range":
            return self._range(rest)
        if word == "with":
            return self._with(rest)
        if word in {"define", "template", "block", "break", "continue"}:
            self._fail(f"{{{{{word}}}}} is not supported")
        value = self._pipeline(text)
        return lambda scope: visible(go_text(value(scope)))  # a guest's words drive no terminal

    def _end(self) -> str:
        """Step over ``{{end}}`` or ``{{else ...}}`` and return its text."""
        text = self._pieces[self._position][1]
        self._position += 1
        return text

    def _branches(self) -> tuple[Node, Node]:
        body = self._block(("else", "end"))
        text = self._end()
        if text == "end":
            return body, _constant("")
        rest = text[len("else") :].strip()
        if rest.startswith("if"):
            return body, self._if(rest[2:])
        if rest:
            self._fail(f"unexpected {{{{{text}}}}}")
        other = self._block(("end",))
        self._end()
        return body, other

    def _if(self, text: str) -> Node:
        value = self._pipeline(text)
        body, other = self._branches()
        return lambda scope: body(scope) if truth(value(scope)) else other(scope)

    def _with(self, text: str) -> Node:
        value = self._pipeline(text)
        body, other = self._branches()

        def render(scope: Scope) -> str:
            found = value(scope)
            return body({**scope, ".": found}) if truth(found) else other(scope)

        return render

    def _range(self, text: str) -> Node:
        names: list[str] = []
        if ":=" in text:
            left, _, text = text.partition(":=")
            names = [name.strip() for name in left.split(",")]
            if len(names) > 2 or not all(name.startswith("$") for name in names):
                self._fail(f"bad variables in {{{{range{left}:=}}}}")
        value = self._pipeline(text)
        body, other = self._branches()

        def render(scope: Scope) -> str:
            pairs = _pairs(value(scope))
            parts = []
            for key, inner in pairs:
                bound = {**scope, ".": inner}
                bound.update(
                    zip(names, (inner,) if len(names) == 1 else (key, inner), strict=False)
                )
                parts.append(body(bound))
            return "".join(parts) if pairs else other(scope)

        return render

    # --- expressions ---

    def _pipeline(self, text: str) -> Value:
        tokens = self._tokens(text)
        value, rest = self._stages(tokens)
        if rest:
            self._fail(f"unexpected {rest[0][1]!r}")
        return value

    def _tokens(self, text: str) -> list[Token]:
        tokens: list[Token] = []
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                self._fail(f"cannot read {text[position : position + 20]!r}")
            if found.lastgroup:
                tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        return tokens

    def _stages(self, tokens: list[Token]) -> tuple[Value, list[Token]]:
        value, rest = self._command(tokens, None)
        while rest and rest[0] == ("mark", "|"):
            value, rest = self._command(rest[1:], value)
        return value, rest

    def _command(self, tokens: list[Token], piped: Value | None) -> tuple[Value, list[Token]]:
        """``function argument...`` or one operand; the value piped in is the last argument."""
        operands: list[Value] = []
        function = ""
        rest = tokens
        while rest and rest[0] not in {("mark", "|"), ("mark", ")")}:
            kind, text = rest[0]
            if (
                kind == "word"
                and text not in {"true", "false", "nil"}
                and not operands
                and not function
            ):
                if text not in FUNCTIONS:
                    self._fail(f"unknown function {text!r}")
                function, rest = text, rest[1:]
                continue
            operand, rest = self._operand(rest)
            operands.append(operand)
        if piped is not None:
            if not function:
                self._fail("an empty action behind '|'")
            operands.append(piped)
        if function:
            return self._call(function, operands), rest
        if not operands:
            self._fail("an empty action")
        return self._lookup(operands), rest

    def _lookup(self, operands: list[Value]) -> Value:
        first, *keys = operands
        if not keys:
            return first

        def look(scope: Scope) -> Any:
            value = first(scope)
            for key in keys:
                if not isinstance(value, dict):
                    self._fail("only a map takes an argument")
                value = value.get(key(scope), "")
            return value

        return look

    def _call(self, name: str, operands: list[Value]) -> Value:
        function = FUNCTIONS[name]

        def call(scope: Scope) -> Any:
            try:
                return function(*(operand(scope) for operand in operands))
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                self._fail(f"{name}: {error}")

        return call

    def _operand(self, tokens: list[Token]) -> tuple[Value, list[Token]]:
        (kind, text), *rest = tokens
        if kind == "mark" and text == "(":
            value, rest = self._stages(rest)
            if not rest or rest[0] != ("mark", ")"):
                self._fail("')' is missing")
            rest = rest[1:]
            if rest and rest[0][0] == "field":
                inner = value
                return (lambda scope, path=rest[0][1]: self._walk(inner(scope), path)), rest[1:]
            return value, rest
        if kind == "variable":
            if rest and rest[0][0] == "field":
                path = rest[0][1]
                return (lambda scope: self._walk(self._variable(scope, text), path)), rest[1:]
            return (lambda scope: self._variable(scope, text)), rest
        return self._simple(kind, text), rest

    def _simple(self, kind: str, text: str) -> Value:
        constant: Any
        if kind == "string":
            constant = text[1:-1] if text[0] == "`" else _unescape(text[1:-1])
        elif kind == "number":
            constant = float(text) if "." in text else int(text)
        elif kind == "dot":
            return lambda scope: scope["."]
        elif kind == "field":
            return lambda scope: self._walk(scope["."], text)
        elif kind == "word" and text in {"true", "false", "nil"}:
            constant = {"true": True, "false": False, "nil": None}[text]
        else:
            self._fail(f"unexpected {text!r}")
        return lambda scope: constant

    def _variable(self, scope: Scope, name: str) -> Any:
        if name not in scope:
            self._fail(f"unknown variable {name}")
        return scope[name]

    def _walk(self, value: Any, path: str) -> Any:
        for name in path[1:].split("."):
            if value is None:
                return None
            if not isinstance(value, dict):
                self._fail(f"{name!r} is asked of something that has no fields")
            value = self._field(value, name)
        return value

    def _field(self, value: dict[str, Any], name: str) -> Any:
        if name in value:
            return value[name]
        plain = _plain(name)
        for key, inner in value.items():
            if _plain(key) == plain:
                return inner
        raise misuse(
            f"invalid template {self._source!r}: there is no field {name!r}",
            hint=f"fields are {', '.join(list(value)[:40])}",
        )


def _constant(text: str) -> Node:
    return lambda scope: text


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    return []


def _unescape(text: str) -> str:
    known = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda found: known.get(found[1], found[0]), text)
