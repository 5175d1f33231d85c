"""The small declarative language inside operation templates: references, paths, queries and function calls.

Owns the meaning of `${params.user_id}` (a value), `/users/{params.user_id}` (a path) and `{$merge: [...]}` (a
function). Everything is compiled once at load into closures over a scope. Refuses code: there are no loops, no
attribute access on objects, no names beyond the scope, and a path parameter that is empty or could leave its segment.

A scope maps roots to JSON values: `params`, `vars`, `context`, `operation`, `skipped`, `item` and the answers by
their slot name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

Scope = Mapping[str, Any]
Value = Callable[[Scope], Any]

ROOTS = frozenset({"params", "vars", "context", "operation", "skipped", "item"})

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_PARAMETER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_@][A-Za-z0-9_.@-]*")
_PATH_SAFE = "@"


class TemplateError(ValueError):
    """A template does not make sense; the text says where. Raised only while templates are loaded."""


class TemplateFault(ValueError):  # noqa: N818 - named after the outcome
    """A template met a value it cannot work with. The operation fails as `internal`; the text holds no values of the
    request.
    """


class Constant:
    """A compiled value that does not depend on the scope."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, _scope: Scope) -> Any:
        return self.value


class Compiler:
    """Compiles the expressions of one template. `slots` are the names of the answers that are in scope besides
    the roots.
    """

    def __init__(self, functions: Mapping[str, Callable[[Any], Any]], slots: frozenset[str] = frozenset()) -> None:
        self._functions = functions
        self._roots = ROOTS | slots

    def value(self, source: Any) -> Value:
        """A JSON value with `${...}` references and `{$function: argument}` calls. A string that is one reference
        keeps its type.
        """
        if isinstance(source, str):
            return self._text(source)
        if isinstance(source, Mapping):
            return self._object(source)
        if isinstance(source, Sequence):
            items = [self.value(item) for item in source]
            if all(isinstance(item, Constant) for item in items):
                return Constant([item(_EMPTY) for item in items])
            return lambda scope: [item(scope) for item in items]
        return Constant(source)

    def path(self, source: str) -> Value:
        """A URL path; `{reference}` becomes one percent-encoded segment. An empty parameter is a TemplateFault: it
        would widen the path.
        """
        if not source.startswith("/"):
            raise TemplateError(f"path {source!r} must start with /")
        parts = self._interleave(_PARAMETER, source, _path_segment)
        return _joined(parts)

    def query(self, name: str, source: Any) -> Value:
        """One query option, encoded. `$filter` text takes `{reference}` as OData literals; a list becomes comma-
        separated.
        """
        if name == "$filter":
            if not isinstance(source, str):
                raise TemplateError("$filter must be text")
            text = _joined(self._interleave(_PARAMETER, source, odata_literal))
            return lambda scope: quote(text(scope), safe="(),'@")
        value = self.value(source)

        def encode(scope: Scope) -> str:
            found = value(scope)
            items = found if isinstance(found, list) else [found]
            return ",".join(quote(str(item), safe="@()$=") for item in items)

        return Constant(encode(_EMPTY)) if isinstance(value, Constant) else encode

    def _text(self, source: str) -> Value:
        whole = _REFERENCE.fullmatch(source)
        if whole is not None:
            return self.reference(whole.group(1))
        if _REFERENCE.search(source) is None:
            return Constant(source)
        return _joined(self._interleave(_REFERENCE, source, str))

    def _object(self, source: Mapping[str, Any]) -> Value:
        if len(source) == 1:
            ((key, argument),) = source.items()
            if isinstance(key, str) and key.startswith("$"):
                return self._call(key[1:], argument)
        for key in source:
            if not isinstance(key, str) or key.startswith("$"):
                raise TemplateError(f"{key!r}: a name that starts with $ must stand alone, as a function call")
        items = [(key, self.value(item)) for key, item in source.items()]
        if all(isinstance(item, Constant) for _, item in items):
            return Constant({key: item(_EMPTY) for key, item in items})
        return lambda scope: {key: item(scope) for key, item in items}

    def _call(self, name: str, argument: Any) -> Value:
        if name == "each":
            return self._each(argument)
        function = self._functions.get(name)
        if function is None:
            raise TemplateError(f"there is no function ${name}")
        inner = self.value(argument)
        return lambda scope: function(inner(scope))

    def _each(self, argument: Any) -> Value:
        if not isinstance(argument, Mapping) or set(argument) != {"in", "make"}:
            raise TemplateError("$each takes exactly `in` and `make`")
        items, make = self.value(argument["in"]), self.value(argument["make"])

        def run(scope: Scope) -> list[Any]:
            found = items(scope)
            return [make({**scope, "item": item}) for item in found] if isinstance(found, list) else []

        return run

    def reference(self, path: str) -> Value:
        """`root.key.0.key`: nothing found on the way is null."""
        root, *keys = path.strip().split(".")
        # Annotation names such as @odata.type hold a dot of their own.
        keys = _rejoin_annotations(keys)
        if root not in self._roots:
            raise TemplateError(
                f"${{{path}}}: {root!r} is not in scope here (there are: {', '.join(sorted(self._roots))})"
            )
        if not all(key and (key.isdigit() or _NAME.fullmatch(key)) for key in keys):
            raise TemplateError(f"${{{path}}} is not a reference")
        steps = tuple(int(key) if key.isdigit() else key for key in keys)
        if len(steps) == 1 and isinstance(steps[0], str):
            only = steps[0]

            def one(scope: Scope) -> Any:
                holder = scope.get(root)
                return holder.get(only) if isinstance(holder, dict) else None

            return one
        return lambda scope: look_up(scope.get(root), steps)

    def _interleave(self, pattern: re.Pattern[str], source: str, encode: Callable[[Any], str]) -> list[Value]:
        parts: list[Value] = []
        end = 0
        for match in pattern.finditer(source):
            if match.start() > end:
                parts.append(Constant(source[end : match.start()]))
            parts.append(_encoded(self.reference(match.group(1)), encode, match.group(1)))
            end = match.end()
        if end < len(source):
            parts.append(Constant(source[end:]))
        return parts


def look_up(value: Any, steps: Sequence[str | int]) -> Any:
    """Walks objects by name and lists by position; null as soon as a step does not exist."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def odata_literal(value: Any) -> str:
    """An OData literal: quoted text with doubled quotes; a list becomes `'a','b'` for `in (...)`; true, false, null,
    numbers as they are.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list) and value:
        return ",".join(odata_literal(item) for item in value)
    raise TemplateFault("a filter needs text, a number or a list that is not empty")


def _path_segment(value: Any) -> str:
    if not isinstance(value, str) or value.strip() in {"", ".", ".."}:
        raise TemplateFault("a path parameter must be text that is not empty")
    return quote(value, safe=_PATH_SAFE)


def _encoded(value: Value, encode: Callable[[Any], str], reference: str) -> Value:
    def run(scope: Scope) -> str:
        try:
            return encode(value(scope))
        except TemplateFault as fault:
            raise TemplateFault(f"{reference}: {fault}") from None

    return run


def _joined(parts: list[Value]) -> Value:
    if all(isinstance(part, Constant) for part in parts):
        return Constant("".join(part(_EMPTY) for part in parts))
    if len(parts) == 1:
        return parts[0]
    return lambda scope: "".join([part(scope) for part in parts])


def _rejoin_annotations(keys: list[str]) -> list[str]:
    joined: list[str] = []
    for key in keys:
        if joined and joined[-1] == "@odata":
            joined[-1] = f"@odata.{key}"
        else:
            joined.append(key)
    return joined


_EMPTY: Scope = {}
