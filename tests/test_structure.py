"""The house rules that can be counted: sizes, imports inside functions, `Any`, cycles."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("s1x", "s1x_puzzles")
MAX_FUNCTION_LINES = 60
MAX_IMPORTS_IN_100_FUNCTIONS = 2.5
MAX_ANY = 100
#: lines of a room's Python: ratchets, to be lowered with each room that gets smaller
MAX_ROOM_LINES = {
    **{"annotate": 900, "benchmark": 2_750, "budget": 1_550, "curve": 1_800, "engine": 3_100},
    **{"evaluate": 1_300, "export": 700, "imports": 1_250, "model": 1_250, "plan": 1_250},
    **{"pool": 1_050, "report": 4_400, "scorer": 850, "search": 1_250, "selection": 1_900},
    **{"serve": 2_800, "traces": 1_650, "train": 2_950, "workers": 1_150, "s1x_puzzles": 1_600},
}
MAX_CORE_LINES = 3_500
"""Of the modules beside the rooms."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name → syntax tree of every module of the two packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def functions() -> Iterator[tuple[str, Function]]:
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}.{node.name}", node


def test_no_function_is_longer_than_a_screen() -> None:
    sizes = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    assert {n: size for n, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


def test_imports_stand_at_the_top() -> None:
    inner = [
        f"{name}: line {child.lineno}"
        for name, node in functions()
        for child in ast.walk(node)
        if isinstance(child, (ast.Import, ast.ImportFrom))
    ]
    allowed = MAX_IMPORTS_IN_100_FUNCTIONS * len(list(functions())) / 100
    assert len(inner) <= allowed, "\n".join(inner)


def test_rooms_do_not_grow_by_themselves() -> None:
    lines: Counter[str] = Counter()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            room = parts[1] if package == "s1x" and len(parts) > 2 else package
            lines[room] += len(path.read_text(encoding="utf-8").splitlines())
    most = {**MAX_ROOM_LINES, "s1x": MAX_CORE_LINES}
    assert {room: n for room, n in lines.items() if n > most.get(room, 0)} == {}


def test_seams_are_typed() -> None:
    found = {
        name: sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree))
        for name, tree in modules().items()
    }
    assert sum(found.values()) <= MAX_ANY, sorted(found.items(), key=lambda item: -item[1])[:20]


def test_no_two_files_import_each_other_in_a_circle() -> None:
    circles = strongly_connected({name: imports_of(name) for name in modules()})
    assert circles == []


def test_no_two_packages_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for name in modules():
        edges.setdefault(room_of(name), set()).update(map(room_of, imports_of(name)))
    assert strongly_connected({room: edges[room] - {room} for room in edges}) == []


def room_of(name: str) -> str:
    """The package that a module is of, or the module itself beside the packages."""
    return ".".join(name.split(".")[:2]) if name.startswith("s1x.") else name.split(".")[0]


def imports_of(name: str) -> set[str]:
    """The modules of ours that a module imports when it is imported; not those for types alone."""
    found: set[str] = set()
    pending: list[ast.AST] = list(modules()[name].body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, Function):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            deeper = inside & modules().keys()
            found.update(deeper or {node.module})
        else:
            pending += ast.iter_child_nodes(node)
    return {other for other in found if re.match(r"s1x(_puzzles)?(\.|$)", other)} - {name}


def strongly_connected(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of two or more nodes that reach each other (by reachability; the graph is small)."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        pending = [start]
        while pending:
            for other in edges.get(pending.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    pending.append(other)
        return seen

    reached = {node: reach(node) for node in edges}
    groups = {
        frozenset(other for other in reached[node] if node in reached.get(other, ()))
        for node in edges
        if node in reached[node]
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)
