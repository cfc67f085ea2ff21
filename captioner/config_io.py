"""From YAML files, `key=value` overrides and config.json to checked dataclasses: every fault named, on one line."""

import contextlib
import dataclasses
import reprlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import reduce
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from captioner.errors import ConfigError, unknown

T = TypeVar("T")
# What reading YAML raises: a date such as 2020-13-45 is a ValueError, brackets thousands deep are a RecursionError.
_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)


def check(faults: Sequence[str]) -> None:
    """Raise one ConfigError that lists every fault; nothing to list, nothing raised."""
    if faults:
        raise ConfigError("; ".join(faults))


def divisors(number: int) -> str:
    """The divisors of a width that make sense as a number of heads, as text."""
    return ", ".join(str(n) for n in range(1, min(number, 32) + 1) if number % n == 0)


@dataclass(frozen=True)
class Bound:
    """What a value must be: in words, and as a test."""

    needed: str
    holds: Callable[[Any], bool]


def at_least(least: float, words: str = "") -> Bound:
    """The bound of a number that may be `least` or more."""
    return Bound(words or f"at least {least} is needed", lambda value: value >= least)


def between(least: float, most: float, words: str = "") -> Bound:
    """The bound of a number from `least` to `most`, of what `words` name."""
    needed = f"{least} {words} are" if words else f"{least} is"
    return Bound(f"at least {needed} needed, at most {most}", lambda value: least <= value <= most)


BELOW_ONE = Bound("a share from 0 to below 1 is needed", lambda share: 0 <= share < 1)
SHARE = Bound("a share between 0 and 1 is needed", lambda value: 0 <= value <= 1)


def out_of_bounds(config: object, bounds: Mapping[str, Bound], prefix: str = "") -> list[str]:
    """A line for each dotted key whose value is not what its bound asks for; None is left alone."""
    values = {key: reduce(getattr, key.split("."), config) for key in bounds}
    return [
        f"{prefix}{key} is {values[key]}: {bound.needed}"
        for key, bound in bounds.items()
        if values[key] is not None and not bound.holds(values[key])
    ]


def broken(rules: Iterable[tuple[Any, str]]) -> list[str]:
    """The messages of rules that do not hold, of pairs (what is wrong, message)."""
    return [message for wrong, message in rules if wrong]


def load_config(kind: type[T], path: str | Path | None = None, overrides: Sequence[str] = ()) -> T:
    """A checked `kind` from a YAML file and `a.b=value` (or `--a.b=value`, `--a.b value`) overrides."""
    tree: dict[str, Any] = read_yaml(Path(path)) if path is not None else {}
    for override in join_overrides(overrides):
        apply_override(tree, override)
    return build_config(kind, tree, where=str(path) if path is not None else "configuration")


def join_overrides(words: Sequence[str]) -> list[str]:
    """Overrides with each `--a.b value` as the one word `a.b=value`."""
    found: list[str] = []
    wanting = False  # the word before is a flag without its value
    for word in words:
        if wanting:
            found[-1] += f"={word}"
        else:
            found.append(word.removeprefix("--"))
        wanting = not wanting and word.startswith("--") and "=" not in word
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; every fault becomes one line that names the file."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from None
    except _NO_YAML as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}, not a mapping of keys to values")
    return tree


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key of a nested mapping in place."""
    key, equals, text = override.removeprefix("--").partition("=")
    if not equals or not key:
        raise ConfigError(f"cannot use {override!r}: overrides look like fusion.layers=6")
    try:
        value = yaml.safe_load(text)
    except _NO_YAML:
        value = text
    node = tree
    *parents, last = key.split(".")
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"cannot set {key}: {name} is a value, not a group of keys")
        node = child
    node[last] = value


def build_config(kind: type[T], tree: Mapping[str, Any], where: str = "configuration", prefix: str = "") -> T:
    """A dataclass from nested mappings: unknown keys and wrong types are refused by name."""
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    faults: list[str] = []
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in known:
            faults.append(f"{where}: {unknown('key', f'{prefix}{key}', [prefix + name for name in known])}")
            continue
        try:
            values[key] = _convert(hints[key], value, where, f"{prefix}{key}")
        except ConfigError as error:
            faults.append(str(error))
    for name, info in known.items():
        if name not in values and info.default is MISSING and info.default_factory is MISSING:
            faults.append(f"{where}: {prefix}{name} is missing")
    check(faults)
    return kind(**values)


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    """A value as its field's type, or one line that says what was given and what is allowed."""
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: {key} is {_shown(value)}, but it is a group of keys")
        return build_config(hint, value, where, f"{key}.")  # type: ignore[arg-type]
    if hint is Any:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value is False and "off" in arguments:  # YAML 1.1 reads off as a switch
            return "off"
        if value in arguments:
            return value
        given = value if isinstance(value, str) else _shown(value)
        raise ConfigError(f"{where}: " + unknown(key, given, arguments))
    if origin in (Union, UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where, key)
    if origin is dict and isinstance(value, Mapping):
        return {str(name): _convert(arguments[1], item, where, f"{key}.{name}") for name, item in value.items()}
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        items = [_convert(arguments[0], item, where, f"{key}[{i}]") for i, item in enumerate(value)]
        return items if origin is list else tuple(items)
    return _convert_scalar(hint, value, where, key)


def _convert_scalar(hint: Any, value: Any, where: str, key: str) -> Any:
    """A number, word or switch; 1 is not a switch, and 2.5 is not a whole number."""
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)  # YAML 1.1 reads 3e-4 as a word
    if hint is str and value is None:
        return ""
    if hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    kind = get_origin(hint) or hint
    if isinstance(value, kind) and (hint is bool or not isinstance(value, bool)):
        return value
    wanted = kind.__name__
    names = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    raise ConfigError(f"{where}: {key} is {_shown(value)}, but {names.get(wanted, f'a {wanted}')} is needed")


def _shown(value: Any) -> str:
    """A value in a message; repr itself fails on deep nesting, and has no end."""
    return repr(value) if isinstance(value, str) and len(value) <= 80 else reprlib.repr(value)


def to_dict(config: Any) -> dict[str, Any]:
    """A nested dictionary that `build_config` turns back into an equal config."""
    return dataclasses.asdict(config)
