"""What the client asked and was not answered yet."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._errors import StarlingError


Take = Callable[[dict[str, Any]], Any]


@dataclass
class _Question:
    """What is asked, and not sent yet."""

    id: str
    kind: str
    text: str
    future: asyncio.Future[Any]
    take: Take
    #: The last write before it: it is sent behind that.
    behind: int
    #: When it is given up.
    deadline: float


class Requests:
    """What the client asked and was not answered yet. What was sent does not outlast the connection; what waits for one, or for the
    writes before it, does for as long as it may."""

    def __init__(self) -> None:
        self._questions: deque[_Question] = deque()
        self._waiting: dict[str, tuple[str, asyncio.Future[Any], Take]] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._waiting) + len(self._questions)

    def ask(self, message: dict[str, Any], take: Take, behind: int, deadline: float) -> asyncio.Future[Any]:
        """
        :param take: makes the result of the answer, at once: before anything else comes from the server
        """
        id = f"r{self._next}"
        self._next += 1
        text = json.dumps({**message, "id": id}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        question = _Question(id, message["type"], text, _future(), take, behind, deadline)
        self._questions.append(question)
        return question.future

    def withdraw(self, future: asyncio.Future[Any]) -> bool:
        """Takes back what was not sent yet.

        :return: whether it was not
        """
        is_here = any(question.future is future for question in self._questions)
        if is_here:
            future.cancel()
        return is_here

    def send(self, before: float, send: Callable[[str, str], None]) -> None:
        """Sends what does not wait for a write with this sequence, or a later one."""
        while self._questions and self._questions[0].behind < before:
            question = self._questions.popleft()
            if question.future.done():
                continue
            self._waiting[question.id] = (question.kind, question.future, question.take)
            send(question.text, question.id)

    @property
    def has_questions(self) -> bool:
        return bool(self._questions)

    def deadline(self) -> float:
        return min((question.deadline for question in self._questions), default=float("inf"))

    def tick(self, now: float, reason: Callable[[str], StarlingError]) -> None:
        """Gives up what has waited for too long.

        :param reason: what to say of it
        """
        if self.deadline() > now:
            return
        late = [question for question in self._questions if question.deadline <= now]
        self._questions = deque(question for question in self._questions if question.deadline > now)
        for question in late:
            if not question.future.done():
                question.future.set_exception(reason(question.kind))

    def give_up(self, error: StarlingError) -> None:
        """There will be no connection to send it on."""
        questions, self._questions = self._questions, deque()
        for question in questions:
            if not question.future.done():
                question.future.set_exception(error)

    def has(self, id: Any) -> bool:
        """Whether something was sent with this id that is not answered."""
        return isinstance(id, str) and id in self._waiting

    def fail(self, id: str, error: StarlingError) -> bool:
        """
        :return: whether the id is one of ours
        """
        if id not in self._waiting:
            return False
        _, future, _ = self._waiting.pop(id)
        if not future.done():
            future.set_exception(error)
        return True

    def answer(self, id: str, message: dict[str, Any]) -> bool:
        """
        :return: whether the id is one of ours
        """
        if id not in self._waiting:
            return False
        _, future, take = self._waiting.pop(id)
        try:
            if message["type"] == "error":
                raise StarlingError(message["code"], message["message"], message)
            result = take(message)
        except StarlingError as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)
        return True

    def disconnected(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for kind, future, _ in waiting.values():
            if future.done():
                continue
            if kind in ("get", "list"):
                future.set_exception(StarlingError("offline", f"the connection was lost before the answer to {kind}"))
            else:
                text = f"the connection was lost before the answer to {kind}; it may have been carried out"
                future.set_exception(StarlingError("outcome_unknown", text))


def refused(error: StarlingError) -> asyncio.Future[Any]:
    """A request that fails, on the next turn of the event loop: who asks again and again while there is no connection would else never
    let the loop make one."""
    future = _future()

    def fail() -> None:
        if not future.done():
            future.set_exception(error)

    future.get_loop().call_soon(fail)
    return future


def _future() -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    # Whoever gave up on it is not to be bothered by what became of it.
    future.add_done_callback(lambda future: future.cancelled() or future.exception())
    return future
