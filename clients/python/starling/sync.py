"""The same client without ``async``: an event loop in a thread of its own, for scripts, notebooks and threads.

    from starling.sync import connect

    with connect("ws://127.0.0.1:7827/sync", agent="planner") as sync:
        unsubscribe = sync.subscribe("task:*", lambda update: print(update.key, update.value))
        sync.broadcast("task:42:status", {"state": "done"})

Callbacks run in that thread; long ones belong elsewhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from . import _client
from ._delivery import Callback
from ._errors import StarlingError
from ._leases import Lease as _AsyncLease
from ._outbox import Outcome
from ._update import Update

Result = TypeVar("Result")


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="starling", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Any], timeout: float | None = None) -> Any:
        """Calls in the loop's thread, and waits for what it returns, and for that to be done if it is to be awaited."""

        if self._loop.is_closed():
            raise StarlingError("closed", "the client was closed")

        async def body() -> Any:
            result = work()
            return await result if isinstance(result, Awaitable) else result

        if threading.current_thread() is self._thread:
            raise RuntimeError("this waits, and so cannot be called from a callback; give the work to another thread")
        return asyncio.run_coroutine_threadsafe(body(), self._loop).result(timeout)

    @property
    def is_stopped(self) -> bool:
        return self._loop.is_closed()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Lease:
    """A claim that this client holds, renewed until it is released or lost."""

    def __init__(self, loop: _Loop, lease: _AsyncLease) -> None:
        self._loop = loop
        self._lease = lease
        self.key, self.fence = lease.key, lease.fence

    @property
    def is_held(self) -> bool:
        return self._lease.is_held

    def release(self) -> None:
        self._loop.run(self._lease.release)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_held:
            self.release()


class Client:
    """:class:`starling.Client`, waiting for each answer. It may be used from several threads."""

    def __init__(self, urls: str | list[str], **options: Any) -> None:
        self._loop = _Loop()
        try:
            self._client: _client.Client = self._loop.run(lambda: _client.Client(urls, **options))
        except BaseException:
            self._loop.stop()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything. Writes that wait stay in a durable outbox."""
        if not self._loop.is_stopped:
            self._loop.run(self._client.close)
            self._loop.stop()

    @property
    def state(self) -> str:
        return self._client.state

    def live(self, timeout: float | None = None) -> None:
        """Waits until the replica is live.

        :raises TimeoutError: after so many seconds
        """
        self._loop.run(self._client.live, timeout)

    def subscribe(self, pattern: str, callback: Callback | None = None, **options: Any) -> Callable[[], None]:
        """Subscribes to a pattern; without a callback what matches is only held for ``get`` and ``list``.

        :return: a function that ends the subscription
        """
        told = callback or (lambda update: None)
        subscription = self._loop.run(lambda: self._client.subscribe(pattern, told, **options))
        return lambda: self._loop.run(subscription.unsubscribe)

    def get(self, key: str, default: Any = None) -> Any:
        return self._loop.run(lambda: self._client.get(key, default))

    def list(self, pattern: str = "*") -> list[Update]:
        result: list[Update] = self._loop.run(lambda: self._client.list(pattern))
        return result

    def broadcast(self, key: str, value: Any, *, wait: bool = True, timeout: float | None = None, **options: Any) -> Outcome | None:
        """Sets a key, and waits for what becomes of it. ``wait=False`` leaves it to the outbox."""
        return self._write(lambda: self._client.broadcast(key, value, **options), wait, timeout)

    def delete(self, key: str, *, wait: bool = True, timeout: float | None = None, **options: Any) -> Outcome | None:
        return self._write(lambda: self._client.delete(key, **options), wait, timeout)

    def _write(self, work: Callable[[], Awaitable[Outcome]], wait: bool, timeout: float | None) -> Outcome | None:
        if wait:
            outcome: Outcome = self._loop.run(work, timeout)
            return outcome
        self._loop.run(lambda: work() and None)
        return None

    def fetch(self, key: str) -> Update | None:
        update: Update | None = self._loop.run(lambda: self._client.fetch(key))
        return update

    def fetch_all(self, pattern: str = "*") -> Iterator[Update]:
        async def collect() -> list[Update]:
            return [update async for update in self._client.fetch_all(pattern)]

        yield from self._loop.run(collect)

    def claim(self, key: str, **options: Any) -> Lease:
        return Lease(self._loop, self._loop.run(lambda: self._client.claim(key, **options)))

    def presence(self, key: str, value: Any, **options: Any) -> Callable[[], None]:
        leave = self._loop.run(lambda: self._client.presence(key, value, **options))
        return lambda: self._loop.run(leave)

    def drained(self, timeout: float | None = None) -> None:
        """Waits until each write made so far has its final answer."""
        self._loop.run(self._client.drained, timeout)


def connect(urls: str | list[str], **options: Any) -> Client:
    """Opens a local-first replica of a server; the options are those of :class:`starling.Client`."""
    return Client(urls, **options)
