"""The code stays walkable: small files and functions, one name for one thing, few scripts, no circles of imports."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

TOPS = ("captioner", "prompts", "eval", "scripts")
LINES, SHARED_NAMES = 400, 12
LONGEST, P90 = 80, 25  # lines of a function
SCRIPTS, SCRIPT_LINES = 12, 2800


def sources(*tops: str) -> list[Path]:
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_files_and_functions_stay_small() -> None:
    long = {path.name: lines for path in sources(*TOPS) if (lines := path.read_text().count("\n")) > LINES}
    assert not long
    sizes = sorted(
        (node.end_lineno - node.lineno + 1, f"{path.name}:{node.name}")  # type: ignore[operator]
        for path in sources(*TOPS)
        for node in functions(parsed(path))
    )
    assert sizes[-1][0] <= LONGEST, sizes[-1]
    assert sizes[int(len(sizes) * 0.9)][0] <= P90


def test_a_file_name_says_one_thing() -> None:
    counts = Counter(path.name for path in sources("captioner") if path.name not in ("__init__.py", "__main__.py"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_a_public_name_says_one_thing() -> None:
    places: defaultdict[str, set[str]] = defaultdict(set)
    for path in sources(*TOPS):
        for node in parsed(path).body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_") and node.name != "main":
                places[node.name].add(str(path.relative_to(ROOT)))
    shared = {name: sorted(where) for name, where in places.items() if len(where) > 1}
    assert len(shared) <= SHARED_NAMES, shared


def test_scripts_are_few_and_do_not_import_each_other() -> None:
    scripts = sources("scripts")
    assert len(scripts) <= SCRIPTS
    assert sum(path.read_text().count("\n") for path in scripts) <= SCRIPT_LINES
    names = {path.stem for path in scripts} - {"_command"}
    for path in scripts:
        taken = {name.split(".")[0] for name in imports(parsed(path))}
        assert not taken & (names | {"scripts"}), path.name


def imports(tree: ast.Module, *, lazy: bool = True) -> set[str]:
    """Modules that a file imports; without `lazy` only those that importing it brings."""
    nodes = ast.walk(tree) if lazy else top_level(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if is_module(inner) else node.module)
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run at import, those that only type checkers see left out."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from (inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom))


@pytest.mark.parametrize("lazy", [False, True])
def test_no_circle_of_imports(lazy: bool) -> None:
    files = {module_of(path): path for path in sources("captioner", "prompts", "eval")}
    arrows = {
        name: {taken for taken in imports(parsed(path), lazy=lazy) if taken in files and taken != name}
        for name, path in files.items()
        if not (lazy and name == "captioner")  # its lazy facade leads to everything, for `captioner.load`
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for taken in arrows.get(name, ()):
            visit(taken, (*trail, name))
        done.add(name)

    for name in arrows:
        visit(name, ())


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
