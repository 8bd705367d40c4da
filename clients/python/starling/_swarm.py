"""Swarms: tasks that are handed out, and the loop of an agent that works on them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from ._client import Client
from ._errors import StarlingError

log = logging.getLogger("starling")

#: What is asked again: there is no server for the moment, or it has too much to do.
_PASSING = frozenset(
    ("offline", "outcome_unknown", "timeout", "overloaded", "storage_failed", "rate_limited", "shutting_down", "too_many_waiters")
)
#: How long to rest before something is asked again, at first and at most, in seconds.
_REST, _LONGEST_REST = 0.2, 5.0
#: How long to rest where there is no such swarm, in seconds.
_NO_SWARM = 1.0
#: How long one ``task.next`` waits, in seconds.
_WAIT = 30.0


class Task:
    """A task that was handed to this agent. It is its own until it is completed, or until :attr:`is_lost`."""

    def __init__(self, swarm: Swarm, answer: Mapping[str, Any]) -> None:
        self._swarm = swarm
        self._lost = asyncio.Event()
        #: The task's row, as it was handed out.
        self.row: Mapping[str, Any] = answer["task"]
        self.id: str = self.row["task_id"]
        #: To be shown with whatever is written for the task, so that an agent that has lost it writes nothing.
        self.fence: int = answer["fence"]
        #: The key of its claim.
        self.claim: str = answer["claim"]
        self.input: Any = answer.get("input")
        #: In seconds.
        self.lease: float = self.row.get("lease", 60)

    @property
    def is_lost(self) -> bool:
        """Whether somebody else has the task by now, or will: what is done about it counts for nothing."""
        return self._lost.is_set()

    async def progress(self, value: Any = None) -> None:
        """Says how far it is, and renews the lease. The loop renews it by itself, too."""
        await self._tell("task.progress", {} if value is None else {"value": value})

    async def complete(self, result: Any = None) -> None:
        await self._tell("task.complete", {"result": result})

    async def fail(self, error: Any = None, *, retry: bool = False) -> None:
        """
        :param retry: whether somebody may try again, as long as the task has attempts left
        """
        await self._tell("task.fail", {"error": error, "retry": retry})

    async def release(self) -> None:
        """Gives it back; the attempt does not count."""
        await self._tell("task.release", {})

    async def park(self, reason: str | None = None) -> None:
        """Lays it aside until somebody has it resumed."""
        await self._tell("task.park", {} if reason is None else {"reason": reason})

    async def _tell(self, kind: str, fields: Mapping[str, Any]) -> None:
        try:
            await self._swarm._insist(kind, {"task": self.id, "fence": self.fence, **fields})
        except StarlingError as error:
            if error.code in ("stale_fence", "absent"):
                self._lost.set()
            raise

    async def _keep(self) -> None:
        """Renews the lease until the task is lost."""
        while not self.is_lost:
            await asyncio.sleep(self.lease / 3)
            try:
                await self._swarm.request("task.progress", {"task": self.id, "fence": self.fence})
            except StarlingError as error:
                if error.code in ("stale_fence", "absent"):
                    self._lost.set()


class Swarm:
    """A swarm of agents that share tasks: docs/swarms.md says what is promised.

    :param client: whose agent this is
    :param name: the swarm's
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    async def request(self, kind: str, fields: Mapping[str, Any] | None = None, *, timeout: float = 10.0) -> dict[str, Any]:
        """Makes one call (protocol/README.md, Swarms).

        :raises StarlingError: what the server has against it
        """
        return await self._client.request(kind, {"swarm": self.name, **(fields or {})}, timeout=timeout)

    async def _insist(self, kind: str, fields: Mapping[str, Any], *, timeout: float = 10.0) -> dict[str, Any]:
        """Makes a call that does no harm when it arrives twice, again and again while there is no server."""
        rest = _REST
        while True:
            try:
                return await self.request(kind, fields, timeout=timeout)
            except StarlingError as error:
                if error.code not in _PASSING or self._client.state == "closed":
                    raise
                await asyncio.sleep(max(rest, error.details.get("retry_after_ms", 0) / 1000))
                rest = min(2 * rest, _LONGEST_REST)

    async def init(self, **settings: Any) -> dict[str, Any]:
        """Makes the swarm, if it is not there: ``topology``, ``lease`` and so on are the call's fields."""
        return await self._insist("swarm.init", settings)

    async def join(self, *, role: str | None = None, capabilities: Iterable[str] = (), **fields: Any) -> dict[str, Any]:
        """Makes this agent a member, and present until it disconnects; it has to join again after that."""
        return await self.request("swarm.join", {"role": role, "capabilities": list(capabilities), **fields})

    async def status(self) -> dict[str, Any]:
        """What the swarm is doing, counted now."""
        return await self.request("swarm.status")

    async def submit(self, tasks: Sequence[Mapping[str, Any]], *, op: str | None = None) -> list[str]:
        """Makes tasks, all or none; sent again until it is known that they are there, and made once.

        :param op: names the submission, to send it again from another process
        :return: their names
        """
        answer = await self._insist("task.submit", {"tasks": list(tasks), "op": op or secrets.token_hex(16)})
        ids: list[str] = answer["ids"]
        return ids

    async def next(self, *, wait: float = 0, lease: float | None = None, capabilities: Iterable[str] = ()) -> Task | None:
        """Takes the next task.

        :param wait: for how many seconds to wait for one, 60 at most
        :param lease: how long it is this agent's unless it is renewed, in seconds
        """
        fields: dict[str, Any] = {"wait": wait, "capabilities": list(capabilities), "op": secrets.token_hex(16)}
        if lease is not None:
            fields["lease"] = lease
        answer = await self._insist("task.next", fields, timeout=wait + 10)
        return Task(self, answer) if answer["type"] == "task" else None

    async def send(self, to: str | None, body: Any, *, kind: str | None = None, op: str | None = None) -> str:
        """Sends a message to an agent, or to all (``None``).

        :return: its key
        """
        whom: dict[str, Any] = {"board": True} if to is None else {"to": to}
        fields = {**whom, "body": body, "kind": kind, "op": op or secrets.token_hex(16)}
        answer = await self._insist("message.send", fields)
        key: str = answer["key"]
        return key

    async def work(
        self, do: Callable[[Task], Awaitable[Any]], *, lease: float | None = None, capabilities: Iterable[str] = ()
    ) -> None:
        """Works on tasks, one after the other, until it is cancelled. It lives on when the server does not for a while.

        What ``do`` returns is the task's result; what it raises is its failure, and somebody may try again. Should the task be lost meanwhile,
        ``do`` is cancelled. Cancelling this gives the task back.

        :param do: does a task
        :param lease: how long a task stays this agent's after it has died, in seconds; it is renewed at a third of that
        """
        is_new = True
        is_missed = False

        def changed(state: str) -> None:
            nonlocal is_new
            is_new = is_new or state != "live"

        stop = self._client.on_state(changed)
        try:
            while True:
                if is_new and await self._is_present(capabilities):
                    is_new = False
                try:
                    task = await self.next(wait=_WAIT, lease=lease, capabilities=capabilities)
                except StarlingError as error:
                    if error.code != "absent":
                        raise
                    # Nobody has made the swarm yet, or it has ended.
                    if not is_missed:
                        log.warning("there is no swarm %s; waiting until somebody makes it", self.name)
                    is_new = is_missed = True
                    await asyncio.sleep(_NO_SWARM)
                    continue
                is_missed = False
                if task is not None:
                    await self._do(task, do)
        finally:
            stop()

    async def _is_present(self, capabilities: Iterable[str]) -> bool:
        """Joins on a new connection, so that tasks can be meant for this agent; who may not works all the same."""
        try:
            await self.join(role="worker", capabilities=capabilities)
        except StarlingError as error:
            return error.code not in _PASSING
        return True

    async def _do(self, task: Task, do: Callable[[Task], Awaitable[Any]]) -> None:
        working = asyncio.ensure_future(do(task))
        keeping = asyncio.ensure_future(task._keep())
        try:
            await asyncio.wait((working, keeping), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                log.warning("task %s of swarm %s was lost: somebody else has it", task.id, self.name)
                return
            await self._finish(task, working)
        except asyncio.CancelledError:
            if not task.is_lost:
                await asyncio.shield(asyncio.ensure_future(self._give_back(task)))
            raise
        finally:
            keeping.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait((working,))

    async def _finish(self, task: Task, working: asyncio.Future[Any]) -> None:
        try:
            error = working.exception()
            if error is None:
                try:
                    await task.complete(working.result())
                except StarlingError as problem:
                    if problem.code not in ("bad_value", "too_large"):
                        raise
                    log.warning("the result of task %s of swarm %s cannot be kept: %s", task.id, self.name, problem)
                    await task.fail(f"its result cannot be kept: {problem}")
            else:
                log.warning("task %s of swarm %s failed", task.id, self.name, exc_info=error)
                await task.fail(f"{type(error).__name__}: {error}", retry=True)
        except asyncio.CancelledError:
            if not working.cancelled():
                raise
            await task.release()
        except StarlingError as error:
            if error.code not in ("stale_fence", "absent"):
                raise
            log.warning("task %s of swarm %s was done too late: somebody else has it", task.id, self.name)

    async def _give_back(self, task: Task) -> None:
        try:
            await self.request("task.release", {"task": task.id, "fence": task.fence}, timeout=2)
        except StarlingError as error:
            log.info("task %s of swarm %s comes back when its lease is over: %s", task.id, self.name, error)
