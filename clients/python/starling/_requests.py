"""What the client asked and was not answered yet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from ._errors import StarlingError


Take = Callable[[dict[str, Any]], Any]


class Requests:
    """What the client asked and was not answered yet. Nothing of it outlasts the connection."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[str, asyncio.Future[Any], Take]] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, message: dict[str, Any], send: Callable[[str], None], take: Take) -> asyncio.Future[Any]:
        """
        :param take: makes the result of the answer, at once: before anything else comes from the server
        """
        future = _future()
        id = f"r{self._next}"
        self._next += 1
        self._waiting[id] = (message["type"], future, take)
        send(json.dumps({**message, "id": id}, ensure_ascii=False, allow_nan=False))
        return future

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
    """A request that fails at once."""
    future = _future()
    future.set_exception(error)
    return future


def _future() -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    # Whoever gave up on it is not to be bothered by what became of it.
    future.add_done_callback(lambda future: future.cancelled() or future.exception())
    return future
