"""The client's own writes that the server has not answered yet."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Protocol

from ._errors import StarlingTimeoutError
from ._register import Register


#: A time to live that has no end to speak of, in milliseconds.
_LATEST = float(1 << 52)


@dataclass(frozen=True)
class Outcome:
    """What became of a write."""

    #: ``applied``; ``superseded`` by something greater; ``condition``: ``expect`` was not met.
    status: str
    key: str
    version: str | None = None
    revision: int | None = None
    durable: bool = False
    #: For ``superseded``: the register that stays in place, or None where this client's own next write took the place.
    winner: dict[str, Any] | None = None
    #: For ``condition``: the register in place.
    current: dict[str, Any] | None = None
    #: When it expires, in milliseconds since 1970, as the server says; None: not by itself.
    expires_at: int | None = None
    #: Whether the server has judged a condition: ``expect``, or a fence.
    judged: bool = False

    @property
    def applied(self) -> bool:
        return self.status == "applied"


class OutboxStore(Protocol):
    """Keeps records over restarts: ``{key, version, value, ttl, metadata, session, sequence}``, value and metadata as texts of JSON."""

    def load(self) -> list[dict[str, Any]]: ...
    def put(self, record: dict[str, Any]) -> None: ...
    def remove(self, version: str) -> None: ...
    def close(self) -> None: ...


class MemoryOutbox:
    """Keeps nothing over a restart."""

    is_durable = False

    def load(self) -> list[dict[str, Any]]:
        return []

    def put(self, record: dict[str, Any]) -> None:
        pass

    def remove(self, version: str) -> None:
        pass

    def close(self) -> None:
        pass


class Pending(Awaitable[Outcome]):
    """What will have become of a write. To give up waiting for it ends nothing: others may wait too."""

    def __init__(self, future: asyncio.Future[Outcome], key: str = "", timeout: float | None = None) -> None:
        """
        :param timeout: seconds from now after which waiting for it ends
        """
        self._future = future
        self._key = key
        self._timeout = timeout
        self._deadline = None if timeout is None else future.get_loop().time() + timeout

    def done(self) -> bool:
        """Whether it is known."""
        return self._future.done()

    # What a future has too, so that asyncio.wait takes it. It cannot be cancelled: others may wait.

    def result(self) -> Outcome:
        return self._future.result()

    def exception(self) -> BaseException | None:
        return self._future.exception()

    def cancelled(self) -> bool:
        return self._future.cancelled()

    def add_done_callback(
        self, callback: Callable[[asyncio.Future[Outcome]], Any], *, context: Context | None = None
    ) -> None:
        self._future.add_done_callback(callback, context=context)

    def remove_done_callback(self, callback: Callable[[asyncio.Future[Outcome]], Any]) -> int:
        return self._future.remove_done_callback(callback)

    def __await__(self) -> Generator[Any, None, Outcome]:
        return self._wait().__await__()

    async def _wait(self) -> Outcome:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await asyncio.shield(self._future)
        except TimeoutError:
            text = f"the write to {self._key} has no outcome after {self._timeout} s; it stays queued"
            raise StarlingTimeoutError(text) from None


@dataclass(eq=False)
class Write:
    """A write that waits for its final answer."""

    record: dict[str, Any]
    register: Register
    outcome: asyncio.Future[Outcome]
    #: ``waiting``, ``sent`` or ``done``
    state: str = "waiting"
    id: int = 0
    #: Whether it was not left by an earlier run.
    is_of_this_run: bool = True
    #: The version under which the store has it.
    stored: str = ""

    def resolve(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def reject(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


@dataclass
class Outbox:
    """The writes that the server has not answered yet. Of the ones to a key that are not on their way, only the newest is kept. Each
    has its full version from the start, so that sending it again is safe."""

    store: OutboxStore
    #: Is told when the store cannot forget a record.
    failed: Callable[[Exception], None]
    _all: dict[str, Write] = field(default_factory=dict)
    # What is to be sent, with some that are done already: first what was on its way before, then the others.
    _again: deque[Write] = field(default_factory=deque)
    _unsent: deque[Write] = field(default_factory=deque)
    _in_flight: dict[int, Write] = field(default_factory=dict)
    # The writes to each key, in the order they were made. (That is what ``sequence`` says: versions do not, where a clock was set back.)
    _by_key: dict[str, list[Write]] = field(default_factory=dict)
    _next_id: int = 1
    _next_sequence: int = 1

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Write]:
        return iter(list(self._all.values()))

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def newest(self, key: str) -> Register | None:
        """The newest write to a key, as a register."""
        writes = self._by_key.get(key)
        return writes[-1].register if writes else None

    def add(self, record: dict[str, Any], stored: bool = False) -> Write:
        """Puts a write in, and ends the one that it makes needless as superseded.

        :raises Exception: what the store raises; then nothing has happened
        """
        record = {**record, "sequence": record.get("sequence", self._next_sequence)}
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        # Whoever does not ask for the outcome is not to be bothered by it; it is logged.
        outcome.add_done_callback(lambda future: future.cancelled() or future.exception())
        write = Write(record, Register.from_record(record, _expiry(record)), outcome, is_of_this_run=not stored, stored=record["version"])
        if not stored:
            self.store.put(record)
        self._next_sequence = max(self._next_sequence, record["sequence"] + 1)
        self._enqueue(write)
        self._all[record["version"]] = write
        writes = self._by_key.setdefault(record["key"], [])
        previous = writes[-1] if writes else None
        writes.append(write)
        if previous is not None and previous.state == "waiting":
            self._collapse(previous)
        return write

    def _enqueue(self, write: Write) -> None:
        # One key written all the time while there is no server must not fill memory with what was collapsed.
        if len(self._unsent) > 2 * len(self._all) + 1024:
            self._unsent = deque(other for other in self._all.values() if other.state == "waiting")
            self._again.clear()
        self._unsent.append(write)

    def _collapse(self, write: Write) -> None:
        self.finish(write)
        write.resolve(Outcome("superseded", write.record["key"], write.record["version"]))

    def take(self) -> Write | None:
        """The next write to send; None if there is none."""
        for queue in (self._again, self._unsent):
            while queue:
                write = queue.popleft()
                if write.state == "waiting":
                    write.state, write.id = "sent", self._next_id
                    self._next_id += 1
                    self._in_flight[write.id] = write
                    return write
        return None

    @property
    def last_sequence(self) -> int:
        """The sequence of the write made last; 0: there was none."""
        return self._next_sequence - 1

    def next_sequence(self) -> float:
        """The sequence of the first write that is not on its way; infinity: all are."""
        for queue in (self._again, self._unsent):
            while queue and queue[0].state != "waiting":
                queue.popleft()
        return min((queue[0].record["sequence"] for queue in (self._again, self._unsent) if queue), default=math.inf)

    def find(self, id: int) -> Write | None:
        """The write on its way under an id; None if there is none."""
        return self._in_flight.get(id)

    def finish(self, write: Write) -> None:
        """Takes a write out that has its final answer."""
        write.state = "done"
        self._in_flight.pop(write.id, None)
        self._all.pop(write.record["version"], None)
        writes = self._by_key[write.record["key"]]
        writes.remove(write)
        if not writes:
            del self._by_key[write.record["key"]]
        self._remove(write.stored)

    def _remove(self, version: str) -> None:
        try:
            self.store.remove(version)
        except Exception as error:  # noqa: BLE001: it is sent again after a restart, which is safe
            self.failed(error)

    def put_back(self, write: Write) -> None:
        """Puts a write back that may be sent again, unless a later one makes it needless."""
        self._in_flight.pop(write.id, None)
        write.state = "waiting"
        if self._by_key[write.record["key"]][-1] is write:
            self._again.append(write)
        else:
            self._collapse(write)

    def disconnected(self) -> None:
        """The connection is gone: whatever was on its way may have to be sent again."""
        for write in list(self._in_flight.values()):
            self.put_back(write)

    def restamp(self, write: Write, version: str) -> None:
        """Stamps a write anew, unless a later one to its key makes it needless; nothing else of it changes."""
        if self._by_key[write.record["key"]][-1] is not write:
            self._collapse(write)
            return
        old = write.record["version"]
        write.record = {**write.record, "version": version}
        write.register = Register.from_record(write.record, _expiry(write.record))
        # The new record first: a crash between the two leaves both, and the one with the greater version counts.
        try:
            self.store.put(write.record)
        except Exception as error:  # noqa: BLE001: it is still sent by this run, and by the next one as it was
            self.failed(error)
        else:
            self._remove(write.stored)
            write.stored = version
        self._all.pop(old, None)
        self._all[version] = write
        if write.state == "sent":
            self.put_back(write)

    def close(self, error: Exception) -> None:
        """Ends all of them here; a durable store keeps its records."""
        for write in self:
            write.state = "done"
            write.reject(error)
        for each in (self._all, self._by_key, self._in_flight, self._unsent, self._again):
            each.clear()


def _expiry(record: dict[str, Any]) -> int | None:
    """When a write expires, as the server reckons: its stamp plus its time to live."""
    ttl = record.get("ttl")
    return None if ttl is None else int(record["version"][:12], 16) + math.ceil(min(ttl * 1000, _LATEST))
