"""YAML with the scalars of the 1.2 core schema, and the line of every key.

PyYAML resolves scalars by YAML 1.1, where `1e-3` is a string, `no` is false and `007` is seven. Here `1e-3` is a
number, and the other two are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from ftcli.errors import Problem, RecipeError

KeyPath = tuple[str | int, ...]

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_RESOLVER = yaml.resolver.Resolver()
_DIGITS_LIMIT = 400
_NODE_LIMIT = 10_000
_DEPTH_LIMIT = 50


@dataclass(frozen=True)
class Document:
    """A YAML document as plain data, and the line (from 1) of each key or item."""

    value: Any
    lines: dict[KeyPath, int]
    source: str


def load_yaml(text: str, source: str) -> Document:
    """Parse one YAML document; `source` names it in errors.

    Raises RecipeError for broken syntax, duplicate keys, tags, self-references and aliases that explode.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        hint = "; put text that begins with > in quotes" if re.search("chomping|'>'", str(error.problem)) else ""
        raise RecipeError([Problem("", f"not valid YAML: {error.problem}{hint}", source, line)]) from error
    except RecursionError as error:
        raise RecipeError([Problem("", "not valid YAML: nested too deeply", source)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError([Problem("", f"not valid YAML: {error}".split("\n", 1)[0], source, line)]) from error
    except yaml.YAMLError as error:
        raise RecipeError([Problem("", f"not valid YAML: {error}".split("\n", 1)[0], source)]) from error
    builder = _Builder(source)
    value = None if node is None else builder.build(node, ())
    return Document(value, builder.lines, source)


def parse_scalar(text: str) -> Any:
    """Read one plain scalar as YAML 1.2 does: null, a boolean, a number, or else text."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < _DIGITS_LIMIT:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def dump_yaml(value: Any) -> str:
    """Write plain data so that `load_yaml` reads the same data back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)


class _Builder:
    """Turns a node tree into plain data and records lines on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[KeyPath, int] = {}
        self._open: set[int] = set()
        self._nodes = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._nodes += 1
        if self._nodes > _NODE_LIMIT or len(path) > _DEPTH_LIMIT:
            raise self._problem("too large for a recipe; do its aliases multiply?", path, line)
        if id(node) in self._open:
            raise self._problem("contains itself through an alias", path, line)
        self._check_tag(node, path)
        if isinstance(node, yaml.ScalarNode):
            return parse_scalar(node.value) if node.style is None else node.value
        self._open.add(id(node))
        built = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        return built

    def _check_tag(self, node: yaml.Node, path: KeyPath) -> None:
        """Refuse a node that has another tag than PyYAML gives to one without."""
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if node.tag != _RESOLVER.resolve(type(node), node.value, (plain, not plain)):  # type: ignore[no-untyped-call]
            raise self._problem(f"YAML tags such as {node.tag} are not supported", path, node.start_mark.line + 1)

    def _sequence(self, node: yaml.Node, path: KeyPath) -> list[Any]:
        return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._problem("a key must be a plain word", path, line)
            key = key_node.value
            if key in built:
                first = self.lines[(*path, key)]
                raise self._problem(f"written twice, first on line {first}", (*path, key), line)
            self.lines[(*path, key)] = line
            built[key] = self.build(value_node, (*path, key))
        return built

    def _problem(self, message: str, path: KeyPath, line: int) -> RecipeError:
        return RecipeError([Problem(dotted(path), message, self.source, line)])


def dotted(path: KeyPath) -> str:
    """Return a key path as it is written on the command line: `strategy.lr.head`, `phases.0.epochs`."""
    return ".".join(str(part) for part in path)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would not read back as the same text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if isinstance(parse_scalar(text), str) else "'"
    if "\x85" in text:
        style = '"'  # in other styles it is written unescaped, and read as a line break
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_float(dumper: yaml.SafeDumper, number: float) -> yaml.Node:
    text = {float("inf"): ".inf", float("-inf"): "-.inf"}.get(number, repr(number))
    text = ".nan" if number != number else text  # noqa: PLR0124 - the definition of NaN
    mantissa, e, exponent = text.partition("e")
    if e and "." not in mantissa:
        text = f"{mantissa}.0e{exponent}"  # YAML 1.1 readers need the point
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)
