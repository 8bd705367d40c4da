"""The client for asyncio."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ._delivery import Callback
from ._edges import EdgeStatus
from ._engine import Engine
from ._errors import StarlingError
from ._leases import Lease
from ._options import Options
from ._outbox import MemoryOutbox, OutboxStore, Outcome
from ._pattern import Pattern
from ._register import Register
from ._shell import Shell
from ._socket import Sockets, Token
from ._subscription import NEVER, SubscriptionState
from ._update import Update, describe

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _restamp_drift(_: dict[str, Any], error: StarlingError) -> str:
    return "restamp" if error.code == "drift" else "drop"


def _complete(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.fragment:
        raise StarlingError("bad_url", f"{url} is no URL like ws://127.0.0.1:7827/sync")
    return urlunsplit(parts._replace(path="/sync") if parts.path in ("", "/") else parts)


def _to_json(value: Any, what: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError) as error:
        raise StarlingError("bad_value", f"{what} has no JSON: {error}") from error
    return text


class Subscription:
    """What ``subscribe`` gives: call it to unsubscribe; iterate over it (``async for``) where there is no callback. As a context
    manager (``with``) it unsubscribes at the end."""

    def __init__(self, engine: Engine, state: SubscriptionState) -> None:
        self._engine = engine
        self._state = state

    def __call__(self) -> None:
        """Ends the subscription: when it returns, nothing more is called."""
        self._engine.unsubscribe(self._state)

    unsubscribe = __call__

    @property
    def synced(self) -> Awaitable[None]:
        """Done when everything that there was at the beginning has come.

        :raises StarlingError: what the server has against it
        """
        return asyncio.shield(self._state.synced)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, as this subscription knows it."""
        register = self._state.replica.get(key)
        return register.value if register and register.is_visible(self._engine.server_now()) else default

    def list(self) -> list[Update]:
        """All that matches, by key."""
        return [describe(register) for register in self._state.replica.list(self._engine.server_now())]

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Update:
        update = await self._state.delivery.next()
        if update is None:
            raise StopAsyncIteration
        return update

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self()


class Client:
    """A local-first replica of a server: what matches the subscriptions, and this client's own writes. Usable at once: reads and
    writes work while the connection is made, and while there is none. Use it with ``async with``, or ``close`` it.

    :param urls: of one server, or of several edges, of which the nearest healthy one is used
    :param agent: the name to write under; a random one if there is none
    :param session: travels along with each write
    :param token: credentials, or a function (plain or async) that gives them for each connection
    :param outbox: where writes wait for the server: :class:`MemoryOutbox`, :class:`FileOutbox`
    :param outbox_limit: how many may wait
    :param ping_interval: seconds between pings that look whether the server is still there
    :param ping_timeout: seconds after which a server that does not answer a ping is left
    :param probe_interval: seconds, about, between measurements of the other edges
    :param on_refused: says what to do with a write whose stamp was refused (``drift``, ``stale_version``): ``"restamp"`` or ``"drop"``
    :param logger: where to log
    :param websocket: further options for ``websockets.connect``, such as ``ssl``
    """

    def __init__(
        self,
        urls: str | list[str],
        *,
        agent: str | None = None,
        session: str | None = None,
        token: Token = None,
        outbox: OutboxStore | None = None,
        outbox_limit: int = 100_000,
        ping_interval: float = 10,
        ping_timeout: float = 5,
        probe_interval: float = 30,
        on_refused: Callable[[dict[str, Any], StarlingError], str] = _restamp_drift,
        logger: logging.Logger | None = None,
        websocket: dict[str, Any] | None = None,
    ) -> None:
        log = logger or logging.getLogger("starling")
        self._store = outbox or MemoryOutbox()
        self._shell = Shell(Sockets(token, websocket or {}))
        self._engine = Engine(
            Options(
                urls=list(dict.fromkeys(_complete(url) for url in ([urls] if isinstance(urls, str) else urls))),
                agent=agent,
                random_agent=f"py-{secrets.token_hex(8)}",
                session=session,
                token=self._shell.sockets.token,
                outbox=self._store,
                outbox_limit=outbox_limit,
                ping_interval=ping_interval * 1000,
                ping_timeout=ping_timeout * 1000,
                probe_interval=probe_interval * 1000,
                refused_delay=5_000,
                on_refused=on_refused,
                now=lambda: time.monotonic() * 1000,
                wall=lambda: time.time() * 1000,
                random=random.random,
                log=lambda level, message: log.log(_LEVELS[level], message),
            ),
            self._shell,
        )
        self._shell.attach(self._engine)
        self._engine.begin(self._store.load())

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends everything. Writes that wait stay in a durable outbox; ``drained`` waits for them."""
        self._engine.close()
        await self._shell.close()
        self._store.close()

    def disconnect(self) -> None:
        """Ends the connection, and makes none until ``reconnect``; the replica and the outbox stay."""
        self._engine.disconnect()

    def reconnect(self) -> None:
        """Connects again, at once: after ``disconnect``, or when there is reason to believe that the network is back."""
        self._engine.reconnect()

    @property
    def state(self) -> str:
        """``connecting``, ``catching-up``, ``live``, ``offline`` or ``closed``."""
        return self._engine.state

    def on_state(self, callback: Callable[[str], Any]) -> Callable[[], None]:
        """Calls back on each change of state.

        :return: a function that ends it
        """
        return self._shell.on_state(callback)

    async def live(self) -> None:
        """Done when the replica is live.

        :raises StarlingError: what the server has against the credentials; ``closed``
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def changed(state: str) -> None:
            if not done.done() and state == "live":
                done.set_result(None)
            elif not done.done() and state == "closed":
                done.set_exception(StarlingError("closed", "the client was closed"))

        def refused(error: Exception) -> None:
            if not done.done():
                done.set_exception(error)

        stop = self.on_state(changed)
        stop_refused = self._engine.on_credentials_refused(refused)
        changed(self.state)
        try:
            await done
        finally:
            stop()
            stop_refused()

    @property
    def agent(self) -> str:
        """The name that this client writes under."""
        return self._engine.agent

    @property
    def edge(self) -> str:
        """The URL of the edge in use, or tried last."""
        return self._engine.edge

    @property
    def edges(self) -> list[EdgeStatus]:
        """What is known of the edges."""
        return self._engine.edges

    def age(self) -> float:
        """How many seconds ago what ``get`` and ``list`` answer was certainly the latest, but for the time that a change takes to get
        here; infinity if it never was."""
        return self._engine.age() / 1000

    def subscribe(self, pattern: str, callback: Callback | None = None, *, snapshot: bool = True, echo: bool = True) -> Subscription:
        """Subscribes to a pattern: what matches now, and then every change.

        :param callback: is called with each :class:`Update`, plain or async; None: iterate over what is returned
        :param snapshot: False leaves out what is there already
        :param echo: False keeps this client's own writes away
        :return: a function that ends the subscription
        :raises StarlingError: ``bad_pattern``
        """
        return Subscription(self._engine, self._engine.subscribe(pattern, callback, snapshot, echo))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, from the replica, at once; the default where there is none, or nothing subscribed to matches."""
        register = self._engine.read(key)
        return register.value if register else default

    def entry(self, key: str) -> Update | None:
        """The register of a key, from the replica, at once."""
        register = self._engine.read(key)
        return describe(register, self._engine.outbox.newest(key) is register) if register else None

    def list(self, pattern: str = "*") -> list[Update]:
        """The registers of the replica that match a pattern, by key."""
        wanted = Pattern(pattern)
        keys = {register.key for subscription in self._engine.subscriptions for register in subscription.replica.list(-NEVER)}
        found = (self.entry(key) for key in sorted(keys) if wanted.matches(key))
        return [entry for entry in found if entry is not None]

    def broadcast(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        metadata: dict[str, Any] | None = None,
        session: str | None = None,
        **conditions: Any,
    ) -> Awaitable[Outcome]:
        """Sets a key: at once for this client's own readers, and on the server as soon as there is one.

        :param ttl: seconds to live
        :param conditions: ``expect`` (a version, or None for absent), ``transient``, ``fence``: with one of these it is not queued,
            and fails with ``offline`` where there is no connection
        :return: an awaitable of what became of it, which need not be awaited
        :raises StarlingError: ``bad_value``, ``bad_key``, ``outbox_full`` at once; when awaited, what the server has against it
        """
        text = _to_json(value, f"the value of {key}")
        return self._write("broadcast", key, text, value, ttl, metadata, session, conditions)

    def delete(
        self, key: str, *, metadata: dict[str, Any] | None = None, session: str | None = None, **conditions: Any
    ) -> Awaitable[Outcome]:
        """Deletes a key, as ``broadcast`` sets it."""
        return self._write("delete", key, None, None, None, metadata, session, conditions)

    def _write(
        self,
        kind: str,
        key: str,
        text: str | None,
        value: Any,
        ttl: float | None,
        metadata: dict[str, Any] | None,
        session: str | None,
        conditions: dict[str, Any],
    ) -> Awaitable[Outcome]:
        if not isinstance(key, str) or not key:
            raise StarlingError("bad_key", "a key is a text of 1 to 512 bytes")
        if not conditions:
            packed = None if metadata is None else _to_json(metadata, "metadata")
            return self._engine.write(key, value=text, ttl=ttl, metadata=packed, session=session)
        fields = {"ttl": ttl, "metadata": metadata, "session": session}
        message = {"type": kind, "key": key, **conditions}
        message.update((name, field) for name, field in fields.items() if field is not None)
        if kind == "broadcast":
            message["value"] = value
        return asyncio.ensure_future(self._ask(message))

    async def _ask(self, message: dict[str, Any]) -> Outcome:
        answer = await self._engine.request(message)
        return Outcome(
            status="applied" if answer["applied"] else answer["reason"],
            key=answer["key"],
            version=answer.get("version"),
            revision=answer.get("revision"),
            durable=answer.get("durable", False),
            winner=answer.get("winner"),
            current=answer.get("current"),
        )

    async def fetch(self, key: str) -> Update | None:
        """Asks the server for a key, whether it is subscribed to or not.

        :raises StarlingError: ``offline``
        """
        answer = await self._engine.request({"type": "get", "key": key})
        return describe(Register(key, answer, "{}")) if answer["found"] else None

    async def fetch_all(self, pattern: str = "*", page_size: int = 1000) -> AsyncIterator[Update]:
        """Goes through all registers on the server that match, page by page.

        :raises StarlingError: ``offline``
        """
        after: dict[str, str] = {}
        while True:
            answer = await self._engine.request({"type": "list", "pattern": pattern, "limit": page_size, **after})
            for register in answer["registers"]:
                yield describe(Register(register["key"], register, "{}"))
            if "next" not in answer:
                return
            after = {"after": answer["next"]}

    async def claim(
        self,
        key: str,
        *,
        ttl: float | None = None,
        until: str | None = None,
        value: Any = None,
        metadata: dict[str, Any] | None = None,
        renew: bool = True,
    ) -> Lease:
        """Claims a key: one holder at a time. The claim is renewed until it is released or lost.

        :param ttl: seconds; 30 if there is no ``until``
        :param until: ``"disconnect"``: it ends with the connection
        :raises StarlingError: ``held`` (by somebody), ``exists``, ``offline``
        """
        ttl = 30 if ttl is None and until is None else ttl
        fields = {"ttl": ttl, "until": until, "value": value, "metadata": metadata}
        message = {"type": "claim", "key": key, "op": secrets.token_hex(16)}
        message.update((name, field) for name, field in fields.items() if field is not None)
        return await self._engine.holds.claim(message, ttl, until, renew)

    def presence(self, key: str, value: Any, *, metadata: dict[str, Any] | None = None) -> Callable[[], Awaitable[None]]:
        """Keeps a register up while this client is connected.

        :return: an async function that takes it down
        """
        message = {"key": key, "value": value}
        if metadata is not None:
            message["metadata"] = metadata
        self._engine.holds.present(message)
        return lambda: self._engine.holds.absent(key)

    def pending_writes(self) -> Sequence[tuple[Update, Awaitable[Outcome]]]:
        """The writes that wait for their answer, oldest first, also those that an earlier run left; each with its outcome."""
        return [(describe(write.register, True), write.outcome) for write in self._engine.outbox]

    async def drained(self) -> None:
        """Done when each write made so far has its final answer."""
        await asyncio.gather(*(write.outcome for write in self._engine.outbox), return_exceptions=True)
