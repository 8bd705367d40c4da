"""What agents remember and know: docs/memory.md says what is promised."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ._check_options import UNSET, Unset
from ._errors import StarlingError
from ._outbox import Outcome

if TYPE_CHECKING:
    from ._client import Client

# What "system" and "orchestrator" remember under these is the register of that name itself (protocol/README.md, Memory and knowledge).
_SHARED = re.compile(r"task:[^:]+:(status|breakdown)|execution:[^:]+:progress|swarm:[^:]+:config")
_SHARERS = ("system", "orchestrator")


def memory_key(agent: str, name: str) -> str:
    """The key of the register that a memory is."""
    if agent in _SHARERS and _SHARED.fullmatch(name):
        return name
    return f"memory:{agent.replace('%', '%25').replace(':', '%3A')}:{name}"


@dataclass(frozen=True)
class Remembered:
    """What an agent remembers. Times are in seconds since 1970, but for ``expires_at``, which is in milliseconds."""

    name: str
    value: Any
    #: None as long as it is on its way to the server.
    version: str | None
    timestamp: int
    created_at: int | None = None
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    expires_at: int | None = None
    session: str | None = None

    @staticmethod
    def _of(name: str, value: Any, version: str | None, timestamp: int | None, metadata: Any, expires_at: int | None, session: str | None) -> Remembered:
        others = dict(metadata or {})
        ours = others.pop("starling", {})
        return Remembered(name, value, version, (timestamp or 0) // 1000, ours.get("created_at") or None, ours.get("tags", []), others, expires_at, session)


class Memory:
    """What agents remember; of the client's own agent, unless another is named. ``client.memory`` is one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def _key(self, name: str, agent: str | None) -> str:
        if not name:
            raise StarlingError("bad_key", "a memory has a name of 1 byte or more")
        return memory_key(agent or self._client.agent, name)

    def store(
        self,
        name: str,
        value: Any,
        *,
        agent: str | None = None,
        ttl: float | None = None,
        tags: Iterable[str] = (),
        refresh_on_read: bool = False,
        priority: str | None = None,
        index: bool = True,
        metadata: Mapping[str, Any] | None = None,
        session: str | None = None,
        expect: str | None | Literal[Unset.UNSET] = UNSET,
        timeout: float | None = None,
    ) -> Awaitable[Outcome]:
        """Stores something; what was there under the same name is replaced. A write like any other: it is seen here at once, and queued while
        there is no server.

        :param ttl: seconds to live
        :param refresh_on_read: whether it lives for ``ttl`` again when ``retrieve`` reads it
        :param index: whether a search finds it
        :param expect: the version that has to be in place, or None: nothing may be
        :return: an awaitable of what became of it, as of ``broadcast``
        """
        if isinstance(tags, str):
            raise StarlingError("bad_option", "tags is a list of texts; a text alone would be a tag for each of its letters")
        if refresh_on_read and ttl is None:
            raise StarlingError("bad_option", "refresh_on_read needs ttl: for how many seconds it lives on when it is read")
        # The time of creation stands first, and 0 asks the server for it.
        ours: dict[str, Any] = {"created_at": 0}
        if ttl is not None:
            ours["ttl"] = ttl
        if refresh_on_read:
            ours["refresh_on_read"] = True
        if tags := list(tags):
            ours["tags"] = tags
        if priority is not None:
            ours["priority"] = priority
        if not index:
            ours["index"] = False
        return self._client.broadcast(
            self._key(name, agent), value, ttl=ttl, metadata={"starling": ours, **(metadata or {})}, session=session, expect=expect, timeout=timeout
        )

    async def retrieve(self, name: str, *, agent: str | None = None, timeout: float = 10.0) -> Remembered | None:
        """What is remembered under a name; None: nothing. Without a connection it is what the replica has."""
        key = self._key(name, agent)
        try:
            answer = await self._client.request("memory.get", {"agent": agent or self._client.agent, "key": name}, timeout=timeout)
        except StarlingError as error:
            if error.code != "offline":
                raise
            entry = self._client.entry(key)
            if entry is None or entry.deleted:
                return None
            return Remembered._of(name, entry.value, entry.version, entry.timestamp, entry.metadata, entry.expires_at, entry.session)
        return self._remembered(name, answer) if answer["found"] else None

    async def list(self, prefix: str = "", *, agent: str | None = None, timeout: float = 10.0) -> list[Remembered]:
        """What is remembered under names that begin so, in their order."""
        whose = agent or self._client.agent
        start = len(memory_key(whose, ""))
        found: list[Remembered] = []
        after: str | None = None
        while True:
            fields = {"agent": whose, "prefix": prefix, "limit": 500, **({"after": after} if after else {})}
            answer = await self._client.request("memory.list", fields, timeout=timeout)
            found += [self._remembered(register["key"][start:], register) for register in answer["registers"]]
            after = answer.get("next")
            if after is None:
                return found

    def delete(self, name: str, *, agent: str | None = None, **options: Any) -> Awaitable[Outcome]:
        """Forgets what is remembered under a name; the options are those of ``Client.delete``."""
        return self._client.delete(self._key(name, agent), **options)

    @staticmethod
    def _remembered(name: str, register: Mapping[str, Any]) -> Remembered:
        return Remembered._of(
            name, register["value"], register["version"], register["timestamp"], register.get("metadata"), register.get("expires_at"), register.get("session")
        )


class Knowledge:
    """What is known, whoever said it. ``client.knowledge`` is one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def add(self, topic: str, content: str, *, timeout: float = 10.0, **fields: Any) -> str:
        """Says what this agent knows. The same text twice is one knowledge.

        :param fields: ``tags``, ``source``, ``confidence`` (0 to 1), ``ttl`` in seconds, ``supersedes``, ``knowledge`` (a name of its own)
        :return: its name
        """
        return (await self._client.request("knowledge.put", {"topic": topic, "content": content, **fields}, timeout=timeout))["knowledge"]

    def delete(self, knowledge: str, **options: Any) -> Awaitable[Outcome]:
        """Forgets what is known under a name, whoever said it; the options are those of ``Client.delete``."""
        return self._client.delete(f"knowledge:{knowledge.replace('%', '%25').replace(':', '%3A')}", **options)

    async def get(self, knowledge: str, *, timeout: float = 10.0) -> dict[str, Any] | None:
        """What is known under a name, how sure it is, and how often it was found; None: nothing."""
        answer = await self._client.request("knowledge.get", {"knowledge": knowledge}, timeout=timeout)
        if not answer["found"]:
            return None
        return {**answer["value"], "confidence": answer["confidence"], "usage_count": answer["usage_count"], "version": answer["version"]}

    async def list(self, *, topic: str | None = None, tag: str | None = None, timeout: float = 10.0) -> list[dict[str, Any]]:
        """What is known of a topic, or under a tag."""
        found: list[dict[str, Any]] = []
        fields: dict[str, Any] = {name: value for name, value in (("topic", topic), ("tag", tag)) if value is not None}
        while True:
            answer = await self._client.request("knowledge.list", fields, timeout=timeout)
            found += answer["results"]
            if "next" not in answer:
                return found
            fields["after"] = answer["next"]
