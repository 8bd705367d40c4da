"""A store for LangGraph over a Starling server: what graphs remember is durable, shared by any number of processes, found by its words, and seen by
whoever subscribes to it.

    from starling.langgraph import StarlingStore
    from starling.sync import connect

    with connect("ws://127.0.0.1:7827/sync", agent="graph") as sync:
        graph = builder.compile(store=StarlingStore(sync))

It needs the extra: ``pip install 'starling-client[langgraph]'``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
)

from . import _client, sync
from ._client import TIMEOUT
from ._errors import StarlingError
from ._memory import memory_key

#: How many writes a batch has, how many registers a page, and how many finds a search.
_BATCH, _PAGE, _FINDS = 256, 500, 100
#: How much of a query is looked at, in bytes.
_QUERY = 1_024

_Namespace = tuple[str, ...]


class StarlingStore(BaseStore):
    """Items are memories of one agent: ``memory:<agent>:<label>/…/<key>``, where ``%`` and ``/`` of labels and keys are percent-encoded.

    A search with a ``query`` looks for items that have some of its rarer words, the best first; there are no embeddings, and ``index`` says only whether
    an item is looked at (``False``: it is not). What is put together is written together, in one commit for each 256. Times to live are exact: what
    is over is gone from everything at once, and there is no sweeper to start.

    :param client: of ``starling.sync.connect``, for both kinds of calls; or of ``starling.connect``, for those of its own event loop (``aput``, …)
    :param agent: whose memories they are: stores of one name share them
    :param ttl: what LangGraph has of it: ``default_ttl`` in minutes, ``refresh_on_read``
    :param timeout: how many seconds an answer may take
    """

    supports_ttl = True

    def __init__(
        self, client: sync.Client | _client.Client, *, agent: str = "langgraph", ttl: TTLConfig | None = None, timeout: float = TIMEOUT
    ) -> None:
        self._given = client
        self._client: _client.Client = client._client if isinstance(client, sync.Client) else client
        self._agent = agent
        self._prefix = memory_key(agent, "")
        self._timeout = timeout
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        if not isinstance(self._given, sync.Client):
            raise StarlingError("wrong_loop", "this store has an async client: await its calls (aput, aget, …), or make it of starling.sync.connect's")
        listed = list(ops)
        return self._given._thread.wait(lambda: self._run(listed))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        listed = list(ops)
        if isinstance(self._given, sync.Client):
            return await asyncio.to_thread(self.batch, listed)
        return await self._run(listed)

    async def _run(self, ops: list[Op]) -> list[Result]:
        # What is read is what was there before what is put.
        reads: list[tuple[int, Coroutine[Any, Any, Result]]] = []
        puts: dict[tuple[_Namespace, str], PutOp] = {}
        for index, op in enumerate(ops):
            match op:
                case GetOp():
                    reads.append((index, self._get(op)))
                case SearchOp():
                    reads.append((index, self._search(op)))
                case ListNamespacesOp():
                    reads.append((index, self._list_namespaces(op)))
                case PutOp():
                    puts[op.namespace, op.key] = op
                case _:
                    raise ValueError(f"Unknown operation type: {type(op)}")
        results: list[Result] = [None] * len(ops)
        for (index, _), result in zip(reads, await asyncio.gather(*(read for _, read in reads)), strict=True):
            results[index] = result
        await self._put(list(puts.values()))
        return results

    # Names

    def _name(self, namespace: _Namespace, key: str) -> str:
        return "/".join(_escape(part) for part in (*namespace, key))

    def _start(self, namespace: _Namespace) -> str:
        return "".join(f"{_escape(label)}/" for label in namespace)

    def _place(self, register_key: str) -> tuple[_Namespace, str]:
        *namespace, key = (_unescape(part) for part in register_key.removeprefix(self._prefix).split("/"))
        return tuple(namespace), key

    # Reads

    async def _read(self, name: str, refresh: bool) -> dict[str, Any] | None:
        """The register of a memory; None: there is none."""
        if refresh:
            answer = await self._client.request("memory.get", {"agent": self._agent, "key": name}, timeout=self._timeout)
        else:
            answer = await self._client.request("get", {"key": self._prefix + name}, timeout=self._timeout)
        return answer if answer["found"] else None

    async def _get(self, op: GetOp) -> Item | None:
        register = await self._read(self._name(op.namespace, op.key), op.refresh_ttl)
        return None if register is None else Item(**self._item(register))

    def _item(self, register: Mapping[str, Any]) -> dict[str, Any]:
        namespace, key = self._place(register["key"])
        updated = register["timestamp"] / 1000
        created = register.get("metadata", {}).get("starling", {}).get("created_at") or updated
        value = register["value"]
        return {
            "namespace": namespace,
            "key": key,
            # Whoever else writes there may write anything.
            "value": value if isinstance(value, dict) else {"value": value},
            # In whole seconds, and so never later than the update.
            "created_at": datetime.fromtimestamp(min(created, updated), UTC),
            "updated_at": datetime.fromtimestamp(updated, UTC),
        }

    async def _registers(self, prefix: str, wanted: Callable[[Mapping[str, Any]], bool], most: int | None) -> list[Mapping[str, Any]]:
        """Those under names that begin so, in their order, until there are enough."""
        found: list[Mapping[str, Any]] = []
        fields: dict[str, Any] = {"agent": self._agent, "prefix": prefix, "limit": _PAGE}
        while True:
            answer = await self._client.request("memory.list", fields, timeout=self._timeout)
            found += [register for register in answer["registers"] if "/" in register["key"] and wanted(register)]
            if "next" not in answer or (most is not None and len(found) >= most):
                return found
            fields["after"] = answer["next"]

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        def wanted(register: Mapping[str, Any]) -> bool:
            value = self._item(register)["value"]
            return all(_matches(value.get(name), one) for name, one in (op.filter or {}).items())

        if op.query:
            return await self._find(op, op.query, wanted)
        found = (await self._registers(self._start(op.namespace_prefix), wanted, op.offset + op.limit))[op.offset : op.offset + op.limit]
        if op.refresh_ttl:
            await self._refresh(found)
        return [SearchItem(**self._item(register)) for register in found]

    async def _refresh(self, registers: list[Mapping[str, Any]]) -> None:
        ending = [register["key"].removeprefix(self._prefix) for register in registers if "expires_at" in register]
        await asyncio.gather(*(self._read(name, True) for name in ending))

    async def _find(self, op: SearchOp, query: str, wanted: Callable[[Mapping[str, Any]], bool]) -> list[SearchItem]:
        words = query.encode()[:_QUERY].decode(errors="ignore")
        answer = await self._client.request(
            "search",
            {
                "query": words,
                "match": "any",
                "in": ["memory"],
                "pattern": re.sub(r"([*?\\])", r"\\\1", self._prefix + self._start(op.namespace_prefix)) + "*",
                "limit": _FINDS if op.filter else max(1, min(_FINDS, op.offset + op.limit)),
            },
            timeout=self._timeout,
        )
        names = [one["key"].removeprefix(self._prefix) for one in answer["results"] if "/" in one["key"]]
        registers = await asyncio.gather(*(self._read(name, op.refresh_ttl) for name in names))
        scores = {one["key"]: one["score"] for one in answer["results"]}
        found = [register for register in registers if register is not None and wanted(register)]
        return [SearchItem(**self._item(register), score=scores[register["key"]]) for register in found[op.offset : op.offset + op.limit]]

    async def _list_namespaces(self, op: ListNamespacesOp) -> list[_Namespace]:
        conditions = op.match_conditions or ()
        # All that is literal at the beginning bounds what has to be looked through.
        literal: list[str] = []
        for condition in conditions:
            if condition.match_type == "prefix":
                labels = list(condition.path)
                stars = [index for index, label in enumerate(labels) if label == "*"]
                literal = max(literal, labels[: stars[0]] if stars else labels, key=len)
        registers = await self._registers(self._start(tuple(literal)), lambda register: True, None)
        namespaces = {self._place(register["key"])[0] for register in registers}
        found = {namespace for namespace in namespaces if all(_meets(condition, namespace) for condition in conditions)}
        if op.max_depth is not None:
            found = {namespace[: op.max_depth] for namespace in found}
        return sorted(found)[op.offset : op.offset + op.limit]

    # Writes

    async def _put(self, puts: list[PutOp]) -> None:
        for start in range(0, len(puts), _BATCH):
            outcome = await self._client.batch([self._write(op) for op in puts[start : start + _BATCH]], timeout=self._timeout)
            if not outcome.applied:
                raise StarlingError("held", f"nothing was stored: {outcome.failed}")

    def _write(self, op: PutOp) -> dict[str, Any]:
        key = self._prefix + self._name(op.namespace, op.key)
        if op.value is None:
            return {"key": key, "delete": True}
        # The time of creation stands first, and 0 asks the server for it.
        marks: dict[str, Any] = {"created_at": 0}
        write: dict[str, Any] = {"key": key, "value": dict(op.value), "metadata": {"starling": marks}}
        if op.ttl is not None:
            marks |= {"ttl": op.ttl * 60, "refresh_on_read": True}
            write["ttl"] = op.ttl * 60
        if op.index is False:
            marks["index"] = False
        return write


def _escape(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")


def _unescape(part: str) -> str:
    return part.replace("%2F", "/").replace("%25", "%")


def _meets(condition: MatchCondition, namespace: _Namespace) -> bool:
    path = tuple(condition.path)
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))


_Comparison = Literal["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]
_COMPARISONS: dict[_Comparison, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, other: bool(value == other),
    "$ne": lambda value, other: bool(value != other),
    "$gt": lambda value, other: float(value) > float(other),
    "$gte": lambda value, other: float(value) >= float(other),
    "$lt": lambda value, other: float(value) < float(other),
    "$lte": lambda value, other: float(value) <= float(other),
}


def _matches(value: Any, wanted: Any) -> bool:
    """Whether a value is what a filter wants: equal, member by member where that is an object, or by its comparisons."""
    if isinstance(wanted, Mapping):
        if any(str(name).startswith("$") for name in wanted):
            return all(_compare(value, name, other) for name, other in wanted.items())
        return isinstance(value, Mapping) and all(_matches(value.get(name), other) for name, other in wanted.items())
    if isinstance(wanted, list | tuple):
        return isinstance(value, list | tuple) and len(value) == len(wanted) and all(_matches(*pair) for pair in zip(value, wanted, strict=True))
    return bool(value == wanted)


def _compare(value: Any, name: Any, other: Any) -> bool:
    if name not in _COMPARISONS:
        raise ValueError(f"Unsupported operator: {name}")
    try:
        return _COMPARISONS[name](value, other)
    except (TypeError, ValueError):
        # What is no number is neither more nor less.
        return False
