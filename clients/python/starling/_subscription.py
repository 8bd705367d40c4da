"""Subscriptions."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

from ._check import check_is_text
from ._delivery import Callback, Delivery
from ._errors import StarlingError
from ._link import NEVER, Link
from ._outbox import Outbox
from ._pattern import Pattern
from ._register import Register
from ._replica import Replica
from ._update import Update, describe


class SubscriptionState:
    """One subscription: its replica, its cursor, and who is told."""

    def __init__(
        self,
        id: str,
        pattern: str,
        callback: Callback | None,
        snapshot: bool,
        echo: bool,
        pending_write: Callable[[str], Register | None],
        is_own: Callable[[Register], bool],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.id = id
        self.pattern = Pattern(pattern)
        self.snapshot = snapshot
        self.echo = echo
        self.delivery = Delivery(callback, failed)
        self.replica = Replica(pending_write, self._changed)
        #: Where to go on from after a break.
        self.cursor: str | None = None
        #: Whether everything that there was when it began has come.
        self.is_synced = False
        self.error: Exception | None = None
        #: Whether what is held is too old to go on from.
        self.must_replace = False
        #: When to ask again, after the server refused for the time being.
        self.retry_at = NEVER
        self.synced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.synced.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._pending_write = pending_write
        self._is_own = is_own

    def _changed(self, key: str, register: Register | None, cause: str | None) -> bool:
        if register is None:
            self.delivery.push(key, Update(key, deleted=True, cause=cause))
            return True
        if not self.echo and self._is_own(register):
            return False
        self.delivery.push(key, describe(register, self._pending_write(key) is register, cause))
        return True

    def request(self) -> dict[str, Any]:
        """What to send, to begin or to go on."""
        message: dict[str, Any] = {"type": "subscribe", "id": self.id, "pattern": self.pattern.text, "cursors": True}
        if self.cursor is not None:
            message["since"] = self.cursor
        # Own writes are kept from the subscriber here: the replica needs them.
        if not self.snapshot and not self.must_replace:
            message["snapshot"] = False
        return message

    def subscribed(self, message: dict[str, Any]) -> None:
        self.retry_at = NEVER
        # Without a cursor to go on from, what comes is everything there is.
        is_whole = self.must_replace or (self.cursor is None and self.snapshot)
        self.replica.begin(message.get("replace") is True or is_whole)

    def reached(self, cursor: str) -> None:
        """The server has told everything up to a cursor."""
        self.cursor = cursor
        # While catching up, pages come in an order of their own.
        if self.is_synced:
            self.replica.cursor_passed()

    def finished_catching_up(self, cursor: str) -> None:
        self.replica.synced()
        self.is_synced = True
        self.must_replace = False
        self.reached(cursor)
        if not self.synced.done():
            self.synced.set_result(None)

    def transient(self, register: Register) -> None:
        """A broadcast that is seen and not kept."""
        self.delivery.push((register.key,), describe(register, transient=True))

    def start_anew(self) -> None:
        """The server cannot tell what has changed since: everything is to be sent again, and takes the place of what is held."""
        self.disconnected()
        self.cursor = None
        self.must_replace = True

    def disconnected(self) -> None:
        """The connection is gone; what is held stays, and so does the cursor."""
        self.is_synced = False
        self.retry_at = NEVER

    def end(self, error: Exception | None) -> None:
        self.error = error
        self.delivery.close(error)
        if not self.synced.done():
            self.synced.set_exception(error or StarlingError("closed", f"{self.pattern.text} was unsubscribed from"))


class Subscriptions:
    """All subscriptions of a client: who is told of what, and what is to be seen of a key."""

    def __init__(self, engine: Link, outbox: Outbox) -> None:
        self._engine = engine
        self._outbox = outbox
        self._all: dict[str, SubscriptionState] = {}
        self._next_id = 1

    def __iter__(self) -> Iterator[SubscriptionState]:
        return iter(list(self._all.values()))

    def add(self, pattern: str, callback: Callback | None, snapshot: bool, echo: bool) -> SubscriptionState:
        engine = self._engine
        subscription = SubscriptionState(
            f"s{self._next_id}",
            pattern,
            callback,
            snapshot,
            echo,
            self._outbox.newest,
            engine.is_own,
            lambda error: engine.log("error", f"the subscriber to {pattern} raised {''.join(traceback.format_exception(error)).strip()}"),
        )
        self._next_id += 1
        self._all[subscription.id] = subscription
        for write in self._outbox:
            if subscription.pattern.matches(write.record["key"]):
                subscription.replica.touch(write.record["key"])
        return subscription

    def find(self, id: Any) -> SubscriptionState | None:
        return self._all.get(id) if isinstance(id, str) else None

    def remove(self, subscription: SubscriptionState) -> bool:
        return self._all.pop(subscription.id, None) is not None

    @property
    def are_synced(self) -> bool:
        return all(subscription.is_synced for subscription in self._all.values())

    def _matching(self, key: str) -> list[SubscriptionState]:
        return [subscription for subscription in self._all.values() if subscription.pattern.matches(key)]

    def confirm(self, register: Register) -> None:
        """Takes a register that is in the database into the replicas."""
        for subscription in self._matching(register.key):
            subscription.replica.apply(register)

    def touch(self, key: str, cause: str | None = None) -> None:
        """A write of ours to a key was made, or is over."""
        for subscription in self._matching(key):
            subscription.replica.touch(key, cause)

    def transient(self, register: Register) -> None:
        """A broadcast that is seen and not kept."""
        for subscription in self._matching(register.key):
            subscription.transient(register)

    def read(self, key: str) -> Register | None:
        """The greatest register that any subscription, or a write on its way, has for a key; None where reads see none."""
        register = self._outbox.newest(key)
        for subscription in self._matching(key):
            other = subscription.replica.get(key)
            if other is not None and (register is None or other > register):
                register = other
        return register if register is not None and register.is_visible(self._engine.server_now()) else None

    def refused(self, subscription: SubscriptionState, message: dict[str, Any]) -> bool:
        """What the server has against a subscription.

        :return: whether it is to be sent again at once
        """
        code = message.get("code", "")
        if code == "resync_required":
            subscription.start_anew()
            return True
        if message.get("retry"):
            pause = message.get("retry_after_ms", 0) + self._engine.random() * 2_000
            subscription.retry_at = self._engine.now() + pause
        elif code != "unknown_subscription":
            self.remove(subscription)
            self._engine.log("error", f"cannot subscribe to {subscription.pattern.text}: {message.get('message')}")
            subscription.end(StarlingError(code, message.get("message", code), message))
        return False

    def disconnected(self) -> None:
        for subscription in self:
            subscription.disconnected()

    def close(self) -> None:
        for subscription in self:
            subscription.end(None)
        self._all.clear()


class _Unsubscriber(Protocol):
    def server_now(self) -> float: ...
    def unsubscribe(self, subscription: SubscriptionState) -> None: ...


class Subscription:
    """What ``subscribe`` gives: call it to unsubscribe; iterate over it (``async for``) where there is no callback. As a context
    manager (``with``) it unsubscribes at the end."""

    def __init__(self, engine: _Unsubscriber, state: SubscriptionState) -> None:
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
        """The value of a key, as this subscription knows it.

        :raises StarlingError: ``bad_key``
        """
        check_is_text(key)
        register = self._state.replica.get(key)
        return register.value if register and register.is_visible(self._engine.server_now()) else default

    def list(self) -> list[Update]:
        """All that matches, by key."""
        return [describe(register) for register in self._state.replica.list(self._engine.server_now())]

    def __aiter__(self) -> Subscription:
        if self._state.delivery.has_callback:
            raise StarlingError("bad_option", "this subscription has a callback; subscribe without one to iterate")
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
