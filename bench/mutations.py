"""Mutations: the small breaks that Cosmic Ray can make in a module, and a sample of those that matter, by a seed."""

from __future__ import annotations

import ast
import difflib
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names


@dataclass(frozen=True)
class Mutant:
    """The break that an operator makes at the nth place in a file where it can."""

    path: str
    line: int
    operator: str
    nth: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.operator.partition('/')[2]} {self.nth}"

    def of(self, source: str) -> str:
        broken: str = mutate_code(source, get_operator(self.operator)(), self.nth)
        return broken

    def diff(self, source: str) -> list[str]:
        lines = difflib.unified_diff(source.splitlines(), self.of(source).splitlines(), n=0, lineterm="")
        return [f"{line[0]} {line[1:].strip()}" for line in list(lines)[3:] if line[1:].strip()]


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        if not get_operator(name).arguments():
            operator = get_operator(name)()
            places = ((node, line) for node in nodes for (line, _), _ in operator.mutation_positions(node))
            for nth, (node, line) in enumerate(places):
                if node.parent is None or node.parent.type != "parameters":  # the lone `*` there is no product
                    yield Mutant(path, line, name, nth)


def meaning(source: str) -> str:
    """What is left of a module without annotations and without what only type checkers read."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for name in {"annotation", "returns"} & set(node._fields):
            setattr(node, name, None)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.test, node.body, node.orelse = ast.Constant(None), [], []
    return ast.dump(tree)


def matters(mutant: Mutant, source: str) -> bool:
    broken = mutant.of(source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            compile(broken, mutant.path, "exec")
        except SyntaxError:
            return False
    return meaning(broken) != meaning(source)


def sample(sources: dict[str, str], seed: int, count: int) -> list[Mutant]:
    every = [mutant for path, source in sources.items() for mutant in mutants_of(path, source)]
    random.Random(seed).shuffle(every)
    drawn: list[Mutant] = []
    for mutant in every:
        if len(drawn) < count and matters(mutant, sources[mutant.path]):
            drawn.append(mutant)
    return drawn
