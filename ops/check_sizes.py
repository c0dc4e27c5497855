"""Holds the code to its sizes: files, functions, nesting. Prints each that is over, exits 1.

The numbers are hard limits; what is good is well below them (functions of eight lines, files of
80 to 280).
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("worker", "models", "ops")
# A migration is a list of columns; `out` is what benchmarks leave behind.
LEFT_OUT = {"versions", "out"}

FILE_LINES = 350
FUNCTION_LINES = 60
# Functions a job passes through on its way.
PATH_FUNCTION_LINES = 40
JOB_PATH = ("tasks.py", "leases.py", "execution", "limiter", "upstream", "channel", "store")
NESTING = 4

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def faults(path: Path) -> Iterator[str]:
    """What is too large in a file, one sentence each."""
    text = path.read_text("utf-8")
    lines = len(text.splitlines())
    name = path.relative_to(ROOT)
    if lines > FILE_LINES:
        yield f"{name}: {lines} lines, at most {FILE_LINES}"
    limit = PATH_FUNCTION_LINES if _on_job_path(name) else FUNCTION_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTIONS):
            length = body_lines(node)
            if length > limit:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, at most {limit}"
            if nesting(node) > NESTING:
                yield f"{name}:{node.lineno}: {node.name} nests deeper than {NESTING}"


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, without its docstring."""
    body = node.body
    if ast.get_docstring(node) is not None:
        body = body[1:]
    return (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0


def nesting(node: ast.AST, depth: int = 0) -> int:
    """The deepest nesting of blocks below a node; an `elif` is no deeper than its `if`."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and [child] == node.orelse
        below = depth + (isinstance(child, BLOCKS) and not is_elif)
        deepest = max(deepest, nesting(child, below))
    return deepest


def missing(job_path: Iterable[str] = JOB_PATH) -> list[str]:
    """Those of the job's path that have moved: nobody would be held to the limit of theirs."""
    return [name for name in job_path if not (ROOT / "worker" / name).exists()]


def _on_job_path(name: Path) -> bool:
    return name.parts[0] == "worker" and name.parts[1] in JOB_PATH


def main() -> int:
    """Check every file of the packages."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    checked = [path for path in files if not LEFT_OUT & set(path.parts)]
    found = [f"JOB_PATH: there is no {ROOT / 'worker' / name}" for name in missing()]
    found += [fault for path in checked for fault in faults(path)]
    sys.stdout.writelines(f"{fault}\n" for fault in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
