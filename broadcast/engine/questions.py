"""Questions to the database that are asked at the same time, and go through one thread together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .batcher import Batcher, Failed
from .storage.database import reading

if TYPE_CHECKING:
    from .node import Node

T = TypeVar("T")

Question = Callable[[], Any]
AT_ONCE = 50  # questions


class Questions:
    """The questions of one node's connections. A part of it. Each has an answer of its own, or an error."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._batcher = Batcher[Question, Any](self._answer, AT_ONCE, gathers=False)

    async def ask(self, question: Callable[[], T]) -> T:
        """The answer, from a thread that may use the database. Raises what the question raises, as the log does."""
        answer: T = await self._batcher.ask(question)
        return answer

    async def _answer(self, questions: list[Question]) -> Mapping[Question, Any]:
        threads = await self._node.database.threads()
        return await threads.read(answers_to, questions)


def answers_to(questions: list[Question]) -> dict[Question, Any]:
    return {question: answer_to(question) for question in questions}


def answer_to(question: Question) -> Any:
    try:
        return reading(question)
    except Exception as error:
        return Failed(error)
