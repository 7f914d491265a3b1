"""Reads YAML, with lines and exact numbers; the only importer of PyYAML.

Tags that other programs give a meaning (``!secret``, ``!include``) stay the text that they are.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from grug.errors import MapError, Problem

_WHOLE_END = 10**30


class LineMap(dict[Any, Any]):
    """A mapping that knows the 1-based line where it begins."""

    line: int = 0


def load_yaml(text: str, source: str) -> Any:
    """Read one YAML document.

    Returns:
        Lists, ``LineMap`` and scalars; fractions are ``Decimal``.

    Raises:
        MapError: it is no YAML, or PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        advice = "YAML needs PyYAML: pip install 'grug[import]'"
        raise MapError([Problem(source, 0, advice)]) from error

    class Loader(yaml.SafeLoader):
        """A safe loader: it makes no objects but these."""

    def construct_map(loader: Loader, node: yaml.MappingNode) -> LineMap:
        loader.flatten_mapping(node)
        made = LineMap()
        made.line = node.start_mark.line + 1
        made.update(loader.construct_mapping(node, deep=True))
        return made

    def construct_whole(loader: Loader, node: yaml.ScalarNode) -> int | str:
        number: int = loader.construct_yaml_int(node)
        # Python refuses to print very long numbers, as messages about them would.
        return number if abs(number) < _WHOLE_END else "a very long number"

    def construct_fraction(loader: Loader, node: yaml.ScalarNode) -> Decimal | str:
        written = str(loader.construct_scalar(node))
        try:
            return Decimal(written)
        except InvalidOperation:
            return written  # YAML's .inf and .nan, which no register has.

    def construct_foreign(loader: Loader, suffix: str, node: yaml.Node) -> str:
        value = loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else "..."
        return f"!{suffix} {value}"

    Loader.add_constructor("tag:yaml.org,2002:map", construct_map)
    Loader.add_constructor("tag:yaml.org,2002:int", construct_whole)
    Loader.add_constructor("tag:yaml.org,2002:float", construct_fraction)
    Loader.add_multi_constructor("!", construct_foreign)
    try:
        return yaml.load(text, Loader)  # Of a SafeLoader it makes no objects.
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise MapError([Problem(source, line, f"no valid YAML: {error.problem}")]) from error
    except RecursionError as error:
        raise MapError([Problem(source, 0, "nested too deep")]) from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        # PyYAML lets what its constructors of dates and numbers raise pass.
        raise MapError([Problem(source, 0, f"no valid YAML: {error}")]) from error
