"""Shared memory for swarms of agents: a local-first replica of a Starling server.

    import starling

    async with starling.connect("ws://127.0.0.1:7827/sync", agent="planner") as sync:
        unsubscribe = sync.subscribe("task:*", lambda update: print(update.key, update.value))
        await sync.broadcast("task:42:status", {"state": "done"})

``starling.sync`` is the same without ``async``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from ._batch import BatchOutcome
from ._client import Client
from ._edges import EdgeStatus
from ._errors import StarlingError, StarlingTimeoutError
from ._leases import Lease
from ._file_outbox import FileOutbox
from ._options import ClientOptions
from ._memory import Knowledge, Memory, Remembered
from ._outbox import MemoryOutbox, OutboxStore, Outcome
from ._pattern import Pattern
from ._subscription import Subscription
from ._swarm import Swarm, Task
from ._update import Update


def connect(urls: str | Sequence[str], **options: Unpack[ClientOptions]) -> Client:
    """Opens a local-first replica of a server; the options are those of :class:`Client`. It connects in the background."""
    return Client(urls, **options)


__all__ = [
    "BatchOutcome",
    "Client",
    "EdgeStatus",
    "FileOutbox",
    "Knowledge",
    "Lease",
    "Memory",
    "MemoryOutbox",
    "OutboxStore",
    "Outcome",
    "Pattern",
    "Remembered",
    "StarlingError",
    "StarlingTimeoutError",
    "Subscription",
    "Swarm",
    "Task",
    "Update",
    "connect",
]
