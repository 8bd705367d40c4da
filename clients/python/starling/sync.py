"""The same client without ``async``: an event loop in a thread of its own, for scripts, notebooks and threads.

    from starling.sync import connect

    with connect("ws://127.0.0.1:7827/sync", agent="planner") as sync:
        unsubscribe = sync.subscribe("task:*", lambda update: print(update.key, update.value))
        sync.broadcast("task:42:status", {"state": "done"})

Callbacks run in that thread; long ones belong elsewhere. What waits for the server cannot be called from them (``wrong_loop``); what does
not wait can: ``get``, ``list``, ``entry``, ``broadcast(…, wait=False)``.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Unpack

from . import _client
from ._batch import BatchOutcome
from ._check_options import UNSET, Unset, check_boolean, check_timeout
from ._client import PATIENCE, TIMEOUT
from ._delivery import Callback
from ._edges import EdgeStatus
from ._errors import StarlingError, StarlingTimeoutError
from ._leases import Lease as _AsyncLease
from ._memory import Knowledge as _AsyncKnowledge, Memory as _AsyncMemory, Remembered
from ._options import ClientOptions
from ._outbox import Outcome, Pending
from ._subscription import Subscription as _AsyncSubscription
from ._thread import LoopThread
from ._update import Update


class Lease:
    """A claim that this client holds, renewed until it is released or lost. ``with`` releases it at the end."""

    def __init__(self, thread: LoopThread, lease: _AsyncLease) -> None:
        self._thread = thread
        self._lease = lease
        self.key = lease.key
        #: What to show with fenced writes: ``{"key": lease.key, "token": lease.fence}``.
        self.fence = lease.fence

    @property
    def is_held(self) -> bool:
        """Whether it is in force, as far as can be known here."""
        self._thread.check_process()
        return self._lease.is_held

    @property
    def expires_at(self) -> int:
        """When the server ends it without a renewal, in milliseconds of the server's clock."""
        return self._lease.expires_at

    @property
    def lost(self) -> str | None:
        """Why it was lost; None where it was not."""
        self._thread.check_process()
        return self._lease.ended.result() if self._lease.ended.done() else None

    def wait_ended(self, timeout: float | None = None) -> bool:
        """Waits until it is lost, or released.

        :return: whether that came within so many seconds
        """
        check_timeout(timeout, optional=True)

        async def ended() -> bool:
            done, _ = await asyncio.wait([self._lease.ended], timeout=timeout)
            return bool(done)

        if self._lease.ended.done():
            return True
        return self._thread.wait(ended)

    def renew(self, value: Any = None, metadata: dict[str, Any] | None = None, ttl: float | None = None) -> None:
        """Renews it, and can change its value.

        :raises StarlingError: ``held``, ``stale_fence``: it is lost; ``offline``
        """
        self._thread.wait(lambda: self._lease.renew(value, metadata, ttl))

    def release(self) -> None:
        """Gives it up. Safe to repeat.

        :raises StarlingError: ``offline``, ``outcome_unknown``: the server may keep it until its time is over
        """
        self._thread.wait(self._lease.release)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.is_held:
            self._thread.wait(lambda: self._lease.__aexit__(kind, *rest))


class Memory:
    """What agents remember, as :class:`starling.Memory` has it; each call waits for what becomes of it."""

    def __init__(self, thread: LoopThread, memory: _AsyncMemory) -> None:
        self._thread = thread
        self._memory = memory

    def store(self, name: str, value: Any, **options: Any) -> Outcome:
        return self._thread.wait(lambda: self._memory.store(name, value, **options))

    def retrieve(self, name: str, **options: Any) -> Remembered | None:
        return self._thread.wait(lambda: self._memory.retrieve(name, **options))

    def list(self, prefix: str = "", **options: Any) -> list[Remembered]:
        return self._thread.wait(lambda: self._memory.list(prefix, **options))

    def delete(self, name: str, **options: Any) -> Outcome:
        return self._thread.wait(lambda: self._memory.delete(name, **options))


class Knowledge:
    """What is known, as :class:`starling.Knowledge` has it; each call waits for its answer."""

    def __init__(self, thread: LoopThread, knowledge: _AsyncKnowledge) -> None:
        self._thread = thread
        self._knowledge = knowledge

    def add(self, topic: str, content: str, **fields: Any) -> str:
        return self._thread.wait(lambda: self._knowledge.add(topic, content, **fields))

    def delete(self, knowledge: str, **options: Any) -> Outcome:
        return self._thread.wait(lambda: self._knowledge.delete(knowledge, **options))

    def get(self, knowledge: str, **options: Any) -> dict[str, Any] | None:
        return self._thread.wait(lambda: self._knowledge.get(knowledge, **options))

    def list(self, **options: Any) -> list[dict[str, Any]]:
        return self._thread.wait(lambda: self._knowledge.list(**options))


class Subscription:
    """What ``subscribe`` gives: call it to unsubscribe; iterate over it where there is no callback. As a context manager (``with``) it
    unsubscribes at the end."""

    def __init__(self, thread: LoopThread, subscription: _AsyncSubscription) -> None:
        self._thread = thread
        self._subscription = subscription

    def __call__(self) -> None:
        """Ends the subscription. Safe to repeat."""
        self._thread.check_process()
        # The end of the client has ended it.
        if not self._thread.is_closed:
            self._thread.call(self._subscription)

    unsubscribe = __call__

    def synced(self, timeout: float | None = None) -> None:
        """Waits until everything that there was at the beginning has come.

        :raises StarlingError: what the server has against it; ``timeout`` after so many seconds
        """
        check_timeout(timeout, optional=True)

        async def synced() -> None:
            try:
                async with asyncio.timeout(timeout):
                    await self._subscription.synced
            except TimeoutError:
                raise StarlingTimeoutError(f"not all that there was has come after {timeout} s") from None

        self._thread.wait(synced)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, as this subscription knows it."""
        return self._thread.call(lambda: self._subscription.get(key, default))

    def list(self) -> list[Update]:
        """All that matches, by key."""
        return self._thread.call(self._subscription.list)

    def __iter__(self) -> Iterator[Update]:
        self._subscription.__aiter__()
        return self

    def __next__(self) -> Update:
        async def following() -> Update | None:
            try:
                return await self._subscription.__anext__()
            except StopAsyncIteration:
                return None

        update = self._thread.wait(following)
        if update is None:
            raise StopIteration
        return update

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self()


class Client:
    """:class:`starling.Client`, with the same options, waiting for each answer. It may be used from several threads, of one process."""

    def __init__(self, urls: str | Sequence[str], **options: Unpack[ClientOptions]) -> None:
        self._closing = threading.Lock()
        self._thread = LoopThread(self._interrupted)
        try:
            self._client = self._thread.call(lambda: _client.Client(urls, **options))
        except BaseException:
            self._thread.stop()
            raise
        atexit.register(self._end_of_process)

    def _interrupted(self, error: BaseException) -> None:
        text = "a callback raised %r, which ends nothing in the client's thread; tell the main thread to end"
        self._client.log.error(text, error)

    def _end_of_process(self) -> None:
        """The thread goes with the process; that nobody closed the client is not to pass in silence."""
        if self._thread.is_of_this_process and not self._thread.is_closed:
            self._client.abandoned()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout: float = PATIENCE) -> None:
        """Ends everything, as :meth:`starling.Client.close` does. Safe to repeat, and from several threads: all wait for the end.

        :param timeout: seconds; 0: wait for nothing
        """
        self._thread.check_process()
        self._thread.check_thread()
        check_timeout(timeout)
        with self._closing:
            if self._thread.is_closed:
                return
            try:
                self._thread.wait(lambda: self._client.close(timeout), min(timeout + 1, threading.TIMEOUT_MAX))
            except TimeoutError:
                self._client.log.warning("the client was not closed in time: a callback of it does not return")
            finally:
                self._thread.stop()
                atexit.unregister(self._end_of_process)

    @property
    def _replica(self) -> _client.Client:
        """For what can be read from any thread."""
        self._thread.check_process()
        return self._client

    @property
    def state(self) -> str:
        """``connecting``, ``catching-up``, ``live``, ``offline`` or ``closed``."""
        return self._replica.state

    @property
    def last_error(self) -> StarlingError | None:
        """Why there is no connection; None while there is one."""
        return self._replica.last_error

    @property
    def agent(self) -> str:
        """The name that this client writes under."""
        return self._replica.agent

    @property
    def edge(self) -> str:
        """The URL of the edge in use, or tried last."""
        return self._replica.edge

    @property
    def edges(self) -> list[EdgeStatus]:
        """What is known of the edges."""
        return self._thread.call(lambda: self._client.edges)

    def age(self) -> float:
        """How many seconds ago what the replica answers was certainly the latest; infinity if it never was."""
        return self._thread.call(self._client.age)

    def on_state(self, callback: Callable[[str], Any]) -> Callable[[], None]:
        """Calls back on each change of state.

        :return: a function that ends it
        """
        stop = self._thread.call(lambda: self._client.on_state(callback))
        return lambda: self._thread.call(stop)

    def disconnect(self) -> None:
        """Ends the connection, and makes none until ``reconnect``; the replica and the outbox stay."""
        self._thread.call(self._client.disconnect)

    def reconnect(self) -> None:
        """Connects again, at once."""
        self._thread.call(self._client.reconnect)

    def live(self, timeout: float | None = None) -> None:
        """Waits until the replica is live.

        :raises StarlingError: why no server can be reached, where to try again cannot help or the time is over; ``closed``
        """
        self._thread.wait(lambda: self._client.live(timeout))

    def subscribe(self, pattern: str, callback: Callback | None = None, *, snapshot: bool = True, echo: bool = True) -> Subscription:
        """Subscribes to a pattern: what matches now, and then every change.

        :param callback: is called with each :class:`Update`, in the client's thread; None: iterate over what is returned, or look with
            ``get`` and ``list``
        :param snapshot: False leaves out what is there already
        :param echo: False keeps this client's own writes away
        :return: a function that ends the subscription
        """
        return Subscription(
            self._thread, self._thread.call(lambda: self._client.subscribe(pattern, callback, snapshot=snapshot, echo=echo))
        )

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, from the replica; the default where there is none."""
        return self._thread.call(lambda: self._client.get(key, default))

    def entry(self, key: str) -> Update | None:
        """The register of a key, from the replica."""
        return self._thread.call(lambda: self._client.entry(key))

    def list(self, pattern: str = "*") -> list[Update]:
        """The registers of the replica that match a pattern, by key."""
        return self._thread.call(lambda: self._client.list(pattern))

    def broadcast(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        session: str | None = None,
        expect: str | None | Literal[Unset.UNSET] = UNSET,
        fence: Mapping[str, Any] | None = None,
        transient: bool = False,
        version: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Outcome | None:
        """Sets a key, and waits for what becomes of it.

        :param timeout: seconds to wait; None: for a queued write, until it is answered, for another one 10
        :param wait: False: leaves it to the client, which logs what goes wrong
        :return: what became of it; None without ``wait``
        :raises StarlingError: what the server has against it; ``timeout``: it stays queued
        """

        def work() -> Awaitable[Outcome]:
            return self._client.broadcast(
                key,
                value,
                ttl=ttl,
                metadata=metadata,
                session=session,
                expect=expect,
                fence=fence,
                transient=transient,
                version=version,
                timeout=timeout,
            )

        return self._write(key, work, wait, timeout)

    def delete(
        self,
        key: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        session: str | None = None,
        expect: str | None | Literal[Unset.UNSET] = UNSET,
        fence: Mapping[str, Any] | None = None,
        transient: bool = False,
        version: str | None = None,
        timeout: float | None = None,
        wait: bool = True,
    ) -> Outcome | None:
        """Deletes a key, as ``broadcast`` sets it."""

        def work() -> Awaitable[Outcome]:
            return self._client.delete(
                key,
                metadata=metadata,
                session=session,
                expect=expect,
                fence=fence,
                transient=transient,
                version=version,
                timeout=timeout,
            )

        return self._write(key, work, wait, timeout)

    def _write(self, key: str, work: Callable[[], Awaitable[Outcome]], wait: bool, timeout: float | None) -> Outcome | None:
        check_boolean("wait", wait)
        check_timeout(timeout, optional=True)
        if wait:
            return self._thread.wait(lambda: self._outcome(work()))
        self._thread.call(lambda: self._leave(key, work()))
        return None

    async def _outcome(self, write: Awaitable[Outcome]) -> Outcome:
        try:
            return await write
        except StarlingTimeoutError as error:
            why = f" ({self._client.last_error})" if self._client.last_error else ""
            raise StarlingTimeoutError(f"{error}{why}") from None

    def _leave(self, key: str, write: Awaitable[Outcome]) -> None:
        """What fails is logged where it is known; nobody else says of a condition that it was not met."""

        def done(task: asyncio.Task[Outcome]) -> None:
            if not task.cancelled() and not task.exception() and not task.result().applied:
                self._client.log.warning("the write to %s was not carried out: %s", key, task.result().status)

        if isinstance(write, asyncio.Task):
            write.add_done_callback(done)

    def fetch(self, key: str, *, timeout: float = TIMEOUT) -> Update | None:
        """Asks the server for a key, whether it is subscribed to or not.

        :param timeout: seconds to wait for a connection that is being made
        :raises StarlingError: ``offline``
        """
        return self._thread.wait(lambda: self._client.fetch(key, timeout=timeout))

    def touch(self, key: str, ttl: float, *, timeout: float = TIMEOUT) -> bool:
        """Lets a key live longer, for so many seconds from now: its value and version stay.

        :return: whether there is such a key
        :raises StarlingError: ``held`` (by a claim), ``offline``, ``bad_value``
        """
        return self._thread.wait(lambda: self._client.touch(key, ttl, timeout=timeout))

    def batch(
        self,
        writes: Sequence[Mapping[str, Any]],
        *,
        require: Sequence[Mapping[str, Any]] = (),
        op: str | None = None,
        timeout: float = TIMEOUT,
    ) -> BatchOutcome:
        """Changes several keys in one commit, or none of them, as :meth:`starling.Client.batch` does."""
        return self._thread.wait(lambda: self._client.batch(writes, require=require, op=op, timeout=timeout))

    def request(self, kind: str, fields: Mapping[str, Any] | None = None, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Asks the server what this client has no method for: the answer, with all its fields."""
        return self._thread.wait(lambda: self._client.request(kind, fields, timeout=timeout))

    @property
    def memory(self) -> Memory:
        """What agents remember."""
        return Memory(self._thread, self._client.memory)

    @property
    def knowledge(self) -> Knowledge:
        """What is known."""
        return Knowledge(self._thread, self._client.knowledge)

    def search(self, query: str, *, timeout: float = TIMEOUT, **fields: Any) -> dict[str, Any]:
        """Finds memories and knowledge by their words, as :meth:`Client.search` does."""
        return self._thread.wait(lambda: self._client.search(query, timeout=timeout, **fields))

    def fetch_all(self, pattern: str = "*", page_size: int = 1000, *, timeout: float = TIMEOUT) -> Iterator[Update]:
        """Goes through all registers on the server that match, page by page.

        :raises StarlingError: ``offline``, ``bad_pattern``
        """
        updates = self._client.fetch_all(pattern, page_size, timeout=timeout)

        async def page() -> list[Update]:
            found: list[Update] = []
            async for update in updates:
                found.append(update)
                if len(found) >= page_size:
                    break
            return found

        while found := self._thread.wait(page):
            yield from found

    def claim(
        self,
        key: str,
        *,
        ttl: float | None = None,
        until: Literal["disconnect"] | None = None,
        value: Any = None,
        metadata: Mapping[str, Any] | None = None,
        renew: bool = True,
        timeout: float = TIMEOUT,
    ) -> Lease:
        """Claims a key: one holder at a time. The claim is renewed until it is released or lost.

        :param ttl: seconds; 30 if there is no ``until``
        :param until: ``"disconnect"``: it ends with the connection
        :param timeout: seconds to wait for a connection that is being made
        :raises StarlingError: ``held`` (by somebody), ``exists``, ``offline``
        """
        lease = self._thread.wait(
            lambda: self._client.claim(
                key, ttl=ttl, until=until, value=value, metadata=metadata, renew=renew, timeout=timeout
            )
        )
        return Lease(self._thread, lease)

    def presence(self, key: str, value: Any, *, metadata: Mapping[str, Any] | None = None) -> Callable[[], None]:
        """Keeps a register up while this client is connected.

        :return: a function that takes it down
        """
        leave = self._thread.call(lambda: self._client.presence(key, value, metadata=metadata))
        return lambda: self._thread.wait(leave)

    def pending_writes(self) -> Sequence[Update]:
        """The writes that wait for their answer, oldest first, also those that an earlier run left."""
        return self._thread.call(lambda: [update for update, _ in self._client.pending_writes()])

    def drained(self, timeout: float | None = None) -> None:
        """Waits until each write made so far has its final answer.

        :raises StarlingTimeoutError: ``timeout`` after so many seconds
        """
        self._thread.wait(lambda: self._client.drained(timeout))


def connect(urls: str | Sequence[str], **options: Unpack[ClientOptions]) -> Client:
    """Opens a local-first replica of a server; the options are those of :class:`starling.Client`."""
    return Client(urls, **options)
