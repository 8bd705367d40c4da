"""The client for asyncio."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal

from ._batch import BatchOutcome, outcome_of, pack_batch
from ._check import check_is_text, check_key, check_text, check_time_to_live, to_json
from ._check_options import UNSET, Unset, check_boolean, check_callback, check_options, check_timeout, complete, conditions, to_object
from ._delivery import Callback
from ._edges import EdgeStatus
from ._engine import Engine
from ._errors import StarlingError, StarlingTimeoutError
from ._leases import Lease
from ._memory import Knowledge, Memory
from ._options import Logger, Options, Token
from ._outbox import MemoryOutbox, OutboxStore, Outcome, Pending
from ._pattern import Pattern
from ._register import Register
from ._shell import Shell
from ._socket import Sockets
from ._subscription import NEVER, Subscription
from ._update import Update, describe

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _restamp_drift(_: dict[str, Any], error: StarlingError) -> str:
    return "restamp" if error.code == "drift" else "drop"


#: How long ``close`` waits for what is not settled, in seconds.
PATIENCE = 5.0
#: How long a question waits for its answer, in seconds.
TIMEOUT = 10.0
#: What has not been sent in time is given up by the engine first.
_GRACE = 0.1
#: Before a batch of which nobody knows what became is sent again, in seconds.
_RESEND_PAUSE = 0.1
#: For how long that is known to be safe, with a minute in hand (protocol/README.md, Promises), in seconds.
_ANSWERS_KEPT = 14 * 60.0
#: What this client does itself, or has a method for that does more than ask.
_NOT_REQUESTS = {"subscribe", "unsubscribe", "hello", "ping", "broadcast", "delete", "claim", "renew", "release", "batch"}


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
        urls: str | Sequence[str],
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
        logger: Logger | None = None,
        websocket: Mapping[str, Any] | None = None,
    ) -> None:
        names = complete(urls)
        check_options(
            agent, session, token, outbox, outbox_limit, ping_interval, ping_timeout, probe_interval, on_refused, logger, websocket
        )
        log = logger or logging.getLogger("starling")
        self.log = log
        self._process = os.getpid()
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise StarlingError("wrong_loop", "a client is made within asyncio.run; starling.sync is for programs without") from None
        self._store = MemoryOutbox() if outbox is None else outbox
        self._shell = Shell(Sockets(token, dict(websocket or {})))
        self._engine = Engine(
            Options(
                urls=names,
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
        # The writes that are not queued, and have no outcome yet.
        self._asking: set[asyncio.Task[Outcome]] = set()
        self._shell.attach(self._engine)
        self._engine.begin(self._store.load())

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, timeout: float = PATIENCE) -> None:
        """Ends everything: releases the claims that are held, and waits until each write has its outcome, for at most so many seconds. What
        is left is logged; a durable outbox keeps it, and is not waited for where no server answers.

        :param timeout: 0: wait for nothing
        """
        self._check_use()
        check_timeout(timeout)
        if self._engine.state == "closed":
            return
        end = self._loop.time() + timeout
        try:
            if timeout > 0 and self._is_worth_waiting:
                await self._settle(timeout)
        finally:
            left = len(self._engine.outbox)
            if left > 0 and not self._engine.is_durable:
                self.log.warning("the client was closed with %d writes that the server has not acknowledged", left)
            elif left > 0:
                self.log.warning("the client was closed; %d writes wait in its outbox for the next one", left)
            self._engine.close()
            # A moment for the goodbye even where the time is over: a server that is well needs no more.
            await self._shell.close(min(1, max(0.5, end - self._loop.time())))
            self._store.close()

    @property
    def _is_worth_waiting(self) -> bool:
        engine = self._engine
        if engine.is_greeted:
            return True
        if engine.is_paused or engine.has_verdict or not engine.has_unsettled:
            return False
        # A connection is being made, and nothing speaks against it yet.
        return not engine.is_durable or engine.last_error is None

    async def _settle(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._engine.holds.release_all()
                verdict = asyncio.Event()
                stop = self._engine.on_verdict(lambda error: verdict.set())
                stop_states = self.on_state(lambda state: verdict.set() if state == "offline" and self._engine.is_durable else None)
                waits = [self._loop.create_task(self._drain()), self._loop.create_task(verdict.wait())]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    stop()
                    stop_states()
                    for wait in waits:
                        wait.cancel()
        except TimeoutError:
            pass

    def abandoned(self) -> None:
        """Logs what is lost where nobody closed the client."""
        self._engine.abandoned()

    def _check_use(self) -> None:
        """
        :raises StarlingError: ``wrong_process``, ``wrong_loop``: nothing would ever come of it
        """
        if os.getpid() != self._process:
            raise StarlingError("wrong_process", "a client does not outlive a fork: make another one in the new process")
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if not is_here:
            text = "a client belongs to the event loop (and so to the thread) that it was made in; starling.sync is for threads"
            raise StarlingError("wrong_loop", text)

    def _check_readable(self) -> None:
        """
        :raises StarlingError: ``closed``, ``wrong_loop``: that nothing is there would be no answer
        """
        self._check_use()
        if self._engine.state == "closed":
            raise StarlingError("closed", "the client was closed")

    def disconnect(self) -> None:
        """Ends the connection, and makes none until ``reconnect``; the replica and the outbox stay."""
        self._check_use()
        self._engine.disconnect()

    def reconnect(self) -> None:
        """Connects again, at once: after ``disconnect``, or when there is reason to believe that the network is back."""
        self._check_use()
        self._engine.reconnect()

    @property
    def state(self) -> str:
        """``connecting``, ``catching-up``, ``live``, ``offline`` or ``closed``."""
        return self._engine.state

    def on_state(self, callback: Callable[[str], Any]) -> Callable[[], None]:
        """Calls back on each change of state.

        :return: a function that ends it
        :raises StarlingError: ``bad_option``
        """
        check_callback("the callback of on_state", callback)
        return self._shell.on_state(callback)

    @property
    def last_error(self) -> StarlingError | None:
        """Why there is no connection; None while there is one."""
        return self._engine.last_error

    async def live(self, timeout: float | None = None) -> None:
        """Done when the replica is live.

        :param timeout: seconds
        :raises StarlingError: what the server has against the credentials; why no server can be reached, where to try again cannot help
            (``unauthorized``, ``forbidden``, ``not_found``, ``bad_certificate``, …) or the time is over (``offline``); ``closed``
        """
        self._check_use()
        check_timeout(timeout, optional=True)
        try:
            async with asyncio.timeout(timeout):
                await self._live()
        except TimeoutError:
            engine = self._engine
            text = f"the replica is not live after {timeout} s: {engine.why_not_live()}"
            raise engine.last_error or StarlingError("offline", text) from None

    async def _live(self) -> None:
        if self._engine.has_verdict and self._engine.last_error:
            # Who tries again and again would else never let the loop make a connection.
            await asyncio.sleep(0)
            raise self._engine.last_error
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
        stop_refused = self._engine.on_verdict(refused)
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
        :raises StarlingError: ``bad_pattern``, ``bad_option``
        """
        self._check_use()
        if callback is not None:
            check_callback("the callback of subscribe", callback)
        check_boolean("snapshot", snapshot)
        check_boolean("echo", echo)
        return Subscription(self._engine, self._engine.subscribe(pattern, callback, snapshot, echo))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, from the replica, at once; the default where there is none, or nothing subscribed to matches."""
        check_is_text(key)
        self._check_readable()
        register = self._engine.read(key)
        return register.value if register else default

    def entry(self, key: str) -> Update | None:
        """The register of a key, from the replica, at once."""
        check_is_text(key)
        self._check_readable()
        register = self._engine.read(key)
        return describe(register, self._engine.outbox.newest(key) is register) if register else None

    def list(self, pattern: str = "*") -> list[Update]:
        """The registers of the replica that match a pattern, by key."""
        wanted = Pattern(pattern)
        self._check_readable()
        if wanted.exact is not None:
            entry = self.entry(wanted.exact)
            return [entry] if entry else []
        keys = {register.key for subscription in self._engine.subscriptions for register in subscription.replica.list(-NEVER)}
        found = (self.entry(key) for key in sorted(keys) if wanted.matches(key))
        return [entry for entry in found if entry is not None]

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
    ) -> Awaitable[Outcome]:
        """Sets a key: at once for this client's own readers, and on the server as soon as there is one. With ``expect``, ``fence``,
        ``transient`` or ``version`` it is not queued: it waits for a connection that is being made, and fails with ``offline`` where there is none.

        :param ttl: seconds to live
        :param metadata: travels along
        :param expect: the version that must be in place, or None: nothing may be
        :param fence: ``{"key": lease.key, "token": lease.fence}``: the claim that must be in force
        :param transient: is seen by those who are there, and not kept
        :param version: the version to write, where it is another's register that is passed on
        :param timeout: seconds to wait for its outcome; None: for a queued write, until it has one, else 10
        :return: an awaitable of what became of it, which need not be awaited
        :raises StarlingError: ``bad_value``, ``bad_key``, ``outbox_full``, ``outbox_failed`` at once; when awaited, what the server has
            against it
        """
        text = to_json(value, f"the value of {key!r}")
        required = conditions(expect, fence, transient, version)
        return self._write("broadcast", key, text, value, ttl, metadata, session, required, timeout)

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
    ) -> Awaitable[Outcome]:
        """Deletes a key, as ``broadcast`` sets it."""
        required = conditions(expect, fence, transient, version)
        return self._write("delete", key, None, None, None, metadata, session, required, timeout)

    def _write(
        self,
        kind: str,
        key: str,
        text: str | None,
        value: Any,
        ttl: float | None,
        metadata: Mapping[str, Any] | None,
        session: str | None,
        conditions: dict[str, Any],
        timeout: float | None,
    ) -> Awaitable[Outcome]:
        self._check_use()
        check_key(key)
        check_time_to_live(ttl)
        check_timeout(timeout, optional=True)
        check_text("session", session, 128)
        packed = None if metadata is None else to_json(to_object(metadata, "metadata"), "metadata")
        if not conditions:
            return Pending(self._engine.write(key, value=text, ttl=ttl, metadata=packed, session=session), key, timeout)
        # As it is now: the caller may change it before it is sent.
        fields = {"ttl": ttl, "metadata": None if packed is None else json.loads(packed), "session": session}
        message = {"type": kind, "key": key, **conditions}
        message.update((name, field) for name, field in fields.items() if field is not None)
        if text is not None:
            message["value"] = json.loads(text)
        task = asyncio.ensure_future(self._ask(message, TIMEOUT if timeout is None else timeout))
        self._asking.add(task)
        task.add_done_callback(lambda task: self._asked(key, task))
        return task

    def _asked(self, key: str, task: asyncio.Task[Outcome]) -> None:
        self._asking.discard(task)
        # As with queued writes: it need not be awaited, and does not fail in silence.
        if not task.cancelled() and (error := task.exception()):
            self.log.warning("the write to %s failed: %s", key, error)

    async def _ask(self, message: dict[str, Any], timeout: float) -> Outcome:
        answer = await self._answer(message, timeout)
        return Outcome(
            status="applied" if answer["applied"] else answer["reason"],
            key=answer["key"],
            version=answer.get("version"),
            revision=answer.get("revision"),
            durable=answer.get("durable", False),
            winner=answer.get("winner"),
            current=answer.get("current"),
            expires_at=answer.get("expires_at"),
            judged=answer.get("judged", False),
        )

    async def _answer(
        self, message: dict[str, Any], timeout: float, take: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
    ) -> dict[str, Any]:
        """Asks, and waits for the answer for so many seconds: what is not sent by then is given up by the engine, which knows that."""
        question = self._engine.request(message, take, timeout=timeout * 1000)
        try:
            async with asyncio.timeout(timeout + _GRACE):
                answer: dict[str, Any] = await question
                return answer
        except TimeoutError:
            kind, name = message["type"], message.get("key", message.get("pattern"))
            what = kind if name is None else f"{kind} of {name}"
            text = f"the server has not answered the {what} in {timeout:.3g} s"
            if kind in ("get", "list"):
                raise StarlingTimeoutError(text) from None
            raise StarlingError("outcome_unknown", f"{text}; it may have been carried out") from None

    async def fetch(self, key: str, *, timeout: float = TIMEOUT) -> Update | None:
        """Asks the server for a key, whether it is subscribed to or not. It sees the writes that this client made before.

        :param timeout: seconds to wait for the answer, and for a connection that is being made
        :raises StarlingError: ``offline``; ``timeout``
        """
        self._check_use()
        check_key(key)
        check_timeout(timeout)
        answer = await self._answer({"type": "get", "key": key}, timeout)
        return describe(Register(key, answer, "{}")) if answer["found"] else None

    async def touch(self, key: str, ttl: float, *, timeout: float = TIMEOUT) -> bool:
        """Lets a key live longer, for so many seconds from now: its value and version stay. A time that is not later than its own changes
        nothing.

        :return: whether there is such a key
        :raises StarlingError: ``held`` (by a claim), ``offline``, ``bad_value``
        """
        self._check_use()
        check_key(key)
        if ttl is None:
            raise StarlingError("bad_value", "touch needs a ttl, in seconds")
        check_time_to_live(ttl)
        check_timeout(timeout)
        answer = await self._answer({"type": "touch", "key": key, "ttl": ttl}, timeout)
        return bool(answer["applied"])

    def batch(
        self,
        writes: Sequence[Mapping[str, Any]],
        *,
        require: Sequence[Mapping[str, Any]] = (),
        op: str | None = None,
        timeout: float = TIMEOUT,
    ) -> Awaitable[BatchOutcome]:
        """Changes several keys in one commit, or none of them. It is not queued. Where its answer is lost, it is asked again for as long
        as there is time: the server knows it by its ``op``.

        :param writes: each of another key: ``{"key", "value", "ttl", "metadata", "session", "expect"}`` (but for the first two if need
            be), ``{"key", "delete": True, "expect"}`` or ``{"key", "release": lease.fence}``
        :param require: what has to be in place: ``{"key", "version"}`` (None: absent) or ``{"key", "fence"}``
        :param op: to send it again after ``outcome_unknown``: at least 64 random bits
        :return: an awaitable of what became of it, which need not be awaited; a lease that it releases has ended then
        :raises StarlingError: at once ``bad_option``, ``bad_key``, ``bad_value``; when awaited ``offline``, ``outcome_unknown``, what the server
            has against it
        """
        self._check_use()
        check_timeout(timeout)
        message = pack_batch(writes, require, secrets.token_hex(16) if op is None else op)
        task = asyncio.ensure_future(self._resend(message, time.monotonic() + min(timeout, _ANSWERS_KEPT)))
        self._asking.add(task)
        task.add_done_callback(self._batched)
        return task

    def _batched(self, task: asyncio.Task[BatchOutcome]) -> None:
        self._asking.discard(task)
        # As with single writes: it need not be awaited, and does not fail in silence.
        if not task.cancelled() and (error := task.exception()):
            self.log.warning("the batch failed: %s", error)

    async def _resend(self, message: dict[str, Any], end: float) -> BatchOutcome:
        # A clock that stands still while a machine sleeps, and one that may be set: answers are kept by the server's.
        sent_at = time.time()
        unknown: StarlingError | None = None
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                return outcome_of(await self._answer(message, left, lambda answer: self._engine.holds.batched(message, answer)))
            except StarlingError as error:
                if error.code == "outcome_unknown" and unknown is None:
                    unknown = StarlingError(error.code, f"{error}; ask again with the op {message['op']}", {"op": message["op"]})
                # Once it may have been made, nothing but its answer says what became of it.
                if unknown is None:
                    raise
                may_retry = error.code in ("outcome_unknown", "offline", "timeout") or error.details.get("retry") is True
                rest = max(_RESEND_PAUSE, error.details.get("retry_after_ms", 0) / 1000)
                is_kept = time.monotonic() + rest < end and abs(time.time() - sent_at) < _ANSWERS_KEPT
                if not may_retry or not is_kept or self._engine.state == "closed":
                    raise unknown from None
            await asyncio.sleep(rest)

    async def request(self, kind: str, fields: Mapping[str, Any] | None = None, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Asks the server what this client has no method for. It is not queued.

        :param kind: the ``type`` of the message (protocol/README.md)
        :param fields: its other fields, but for ``id``
        :return: the answer, with all its fields
        :raises StarlingError: ``bad_option``, ``bad_value``, ``offline``, ``outcome_unknown``, what the server has against it
        """
        self._check_use()
        check_timeout(timeout)
        check_text("kind", kind, 128)
        if not isinstance(kind, str) or kind in _NOT_REQUESTS:
            raise StarlingError("bad_option", f"{kind} cannot be asked like this: the client has a method for it, or does it by itself")
        members = json.loads(to_json(to_object(fields or {}, "fields"), f"the fields of {kind}"))
        return await self._answer({**members, "type": kind}, timeout)

    @property
    def memory(self) -> Memory:
        """What agents remember."""
        return Memory(self)

    @property
    def knowledge(self) -> Knowledge:
        """What is known."""
        return Knowledge(self)

    async def search(self, query: str, *, timeout: float = TIMEOUT, **fields: Any) -> dict[str, Any]:
        """Finds memories and knowledge by their words, on the server: what was acknowledged a moment ago, too.

        :param query: words, all of which have to be there; ``"a phrase"``; ``begin*``; ``OR``
        :param fields: ``agent``, ``pattern``, ``tags``, ``limit``, ``order``, ``except_session``, and as ``within`` a list of ``memory`` and ``knowledge``
        :return: ``results``, ``searched``, ``complete``, and ``behind`` where the index is
        :raises StarlingError: what the server has against it
        """
        if "within" in fields:
            fields["in"] = fields.pop("within")
        answer = await self.request("search", {"query": query, **fields}, timeout=timeout)
        return {name: value for name, value in answer.items() if name not in ("type", "id")}

    async def fetch_all(self, pattern: str = "*", page_size: int = 1000, *, timeout: float = TIMEOUT) -> AsyncIterator[Update]:
        """Goes through all registers on the server that match, page by page.

        :raises StarlingError: ``offline``, ``bad_pattern``
        """
        self._check_use()
        Pattern(pattern)
        check_timeout(timeout)
        if not isinstance(page_size, int) or isinstance(page_size, bool) or not 1 <= page_size <= 1000:
            raise StarlingError("bad_option", f"page_size is {page_size!r}; it is a whole number from 1 to 1000")
        after: dict[str, str] = {}
        while True:
            answer = await self._answer({"type": "list", "pattern": pattern, "limit": page_size, **after}, timeout)
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
        self._check_use()
        check_key(key)
        check_time_to_live(ttl)
        check_timeout(timeout)
        check_boolean("renew", renew)
        if until not in (None, "disconnect"):
            raise StarlingError("bad_value", f'until is {until!r}; it can be "disconnect"')
        if value is not None:
            value = json.loads(to_json(value, f"the value of {key!r}"))
        if metadata is not None:
            metadata = json.loads(to_json(to_object(metadata, "metadata"), "metadata"))
        ttl = 30 if ttl is None and until is None else ttl
        fields = {"ttl": ttl, "until": until, "value": value, "metadata": metadata}
        message = {"type": "claim", "key": key, "op": secrets.token_hex(16)}
        message.update((name, field) for name, field in fields.items() if field is not None)
        return await self._engine.holds.claim(message, ttl, until, renew, timeout * 1000)

    def presence(
        self, key: str, value: Any, *, metadata: Mapping[str, Any] | None = None
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        """Keeps a register up while this client is connected. A key is one register: where the same person or agent may be there several
        times (two tabs, two processes), give each a key of its own (``f"here:{room}:{name}:{secrets.token_hex(4)}"``) and list
        ``here:<room>:<name>:*``; else the first to leave takes it down for all.

        :return: an async function that takes it down
        :raises StarlingError: ``bad_key``, ``bad_value`` at once
        """
        self._check_use()
        if self._engine.state == "closed":
            raise StarlingError("closed", "the client was closed")
        check_key(key)
        # As it is now: it is announced again on each connection.
        message = {"key": key, "value": json.loads(to_json(value, f"the value of {key!r}"))}
        if metadata is not None:
            message["metadata"] = json.loads(to_json(to_object(metadata, "metadata"), "metadata"))
        self._engine.holds.present(message)
        return lambda: self._engine.holds.absent(key)

    def pending_writes(self) -> Sequence[tuple[Update, Awaitable[Outcome]]]:
        """The writes that wait for their answer, oldest first, also those that an earlier run left; each with its outcome."""
        return [(describe(write.register, True), Pending(write.outcome)) for write in self._engine.outbox]

    async def drained(self, timeout: float | None = None) -> None:
        """Done when each write made so far has its final answer. To give up waiting ends none of them.

        :param timeout: seconds
        :raises StarlingTimeoutError: ``timeout`` after so many seconds
        """
        self._check_use()
        check_timeout(timeout, optional=True)
        try:
            async with asyncio.timeout(timeout):
                await self._drain()
        except TimeoutError:
            engine = self._engine
            why = f": {engine.last_error}" if engine.last_error else "" if engine.is_greeted else f": {engine.why_not_live()}"
            left = len(engine.outbox) + len(self._asking)
            raise StarlingTimeoutError(f"{left} writes have no outcome after {timeout} s{why}") from None

    async def _drain(self) -> None:
        outcomes: list[asyncio.Future[Any]] = [*(write.outcome for write in self._engine.outbox), *self._asking]
        if outcomes:
            await asyncio.wait(outcomes)
