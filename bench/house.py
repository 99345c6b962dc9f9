"""The measures of the house: how many files, lines, long functions and internal imports the package has.

python -m bench.house [--project DIR]
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

LONG = 20  # lines of a body, without its docstring


def sources(project: Path) -> list[Path]:
    return [file for file in sorted((project / "broadcast").rglob("*.py")) if "migrations" not in file.parts]


def bodies(tree: ast.AST) -> Iterator[int]:
    """The length of each function's body, without the docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def internal_imports(tree: ast.AST) -> int:
    """Statements that import from the package itself."""
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return sum(node.level > 0 or (node.module or "").split(".")[0] == "broadcast" for node in froms)


def measures(project: Path) -> dict[str, float]:
    texts = [file.read_text() for file in sources(project)]
    trees = [ast.parse(text) for text in texts]
    sizes = [text.count("\n") for text in texts]
    lengths = [length for tree in trees for length in bodies(tree)]
    tests = sum(file.read_text().count("\n") for file in (project / "tests").rglob("*.py"))
    return {
        "files": len(sizes),
        "lines": sum(sizes),
        "longest file": max(sizes),
        "functions": len(lengths),
        "median function": median(lengths),
        f"functions over {LONG} lines": sum(length > LONG for length in lengths),
        "internal imports per 1,000 lines": round(1000 * sum(map(internal_imports, trees)) / sum(sizes), 1),
        "lines of test (Python)": tests,
        "lines of test for one of source": round(tests / sum(sizes), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=Path(), help="a checkout")
    for name, value in measures(parser.parse_args().project).items():
        print(f"{name:34} {value:>8g}")


if __name__ == "__main__":
    main()
