"""What a client holds up on the server for as long as it lives: claims and presence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._errors import StarlingError
from ._link import NEVER, Link

#: Two thirds of a lease are left for renewals that fail at first.
_RENEW_AFTER = 1 / 3
_RETRY = 1_000


class Lease:
    """A claim that this client holds, renewed until it is released or lost.

    It is lost when the server says so, when its time has passed without a renewal, and, with ``until="disconnect"``, with the
    connection. A process that was paused between looking at ``is_held`` and acting does not know it: writes that must not happen then
    carry ``fence``. ``async with`` releases it at the end.
    """

    def __init__(
        self,
        engine: Link,
        answer: dict[str, Any],
        ttl: float | None,
        until: str | None,
        renew: bool,
        asked_at: float,
        forget: Callable[[Lease], None],
    ) -> None:
        self.key: str = answer["key"]
        #: What to show with fenced writes: ``{"key": lease.key, "token": lease.fence}``.
        self.fence: int = answer["fence"]
        #: When the server ends it without a renewal, in milliseconds of the server's clock.
        self.expires_at: int = answer["expires_at"]
        #: Done with the reason when the claim is lost, with None when it is given up.
        self.ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._engine = engine
        self._ttl: float | None = None
        self._until = until
        self._renews = renew
        self._forget = forget
        self._is_over = False
        # Whether the server has said that it is given up: by now it may be another's.
        self._is_released = False
        self._renew_at = NEVER
        # When it has certainly ended, by a clock that nobody sets: its time, counted from when it was asked for.
        self._valid_until = NEVER
        self._extended(self.expires_at, ttl, asked_at)

    @property
    def is_held(self) -> bool:
        """Whether it is in force, as far as can be known here."""
        if self._is_over or self._engine.now() >= self._valid_until:
            return False
        return self._ttl is None or self._engine.server_now() < self.expires_at

    @property
    def ends_with_connection(self) -> bool:
        return self._until == "disconnect"

    def _extended(self, expires_at: int, ttl: float | None, asked_at: float) -> None:
        if self._is_over:
            return
        self.expires_at = expires_at
        if ttl is None:
            return
        self._ttl = ttl
        self._valid_until = asked_at + ttl * 1000
        if self._renews:
            self._renew_at = asked_at + ttl * 1000 * _RENEW_AFTER
        self._engine.wake()

    async def renew(self, value: Any = None, metadata: dict[str, Any] | None = None, ttl: float | None = None) -> None:
        """Renews it, and can change its value.

        :raises StarlingError: ``held``, ``stale_fence``: it is lost; ``offline``
        """
        ttl = self._ttl if ttl is None else ttl
        asked_at = self._engine.now()

        def take(answer: dict[str, Any]) -> None:
            if answer["type"] == "refused":
                self.lose(answer["code"])
                raise refusal(answer)
            self._extended(answer["expires_at"], ttl, asked_at)

        fields = {"ttl": ttl, "value": value, "metadata": metadata}
        present = {name: field for name, field in fields.items() if field is not None}
        await self._engine.request({"type": "renew", "key": self.key, "fence": self.fence, **present}, take)

    async def release(self) -> None:
        """Gives it up: from now on it is not held here. Safe to repeat.

        :raises StarlingError: ``offline``, ``outcome_unknown``: the server may keep it until its time is over
        """

        def take(answer: dict[str, Any]) -> None:
            if answer["type"] == "refused":
                raise refusal(answer)
            self._is_released = True

        if self._is_released:
            return
        self._finish(None)
        await self._engine.request({"type": "release", "key": self.key, "fence": self.fence}, take)

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.is_held:
            return
        try:
            await self.release()
        except StarlingError as error:
            # It ends by itself, and what went wrong within is what the caller wants to know.
            if kind is None:
                raise
            self._engine.log("warning", f"claim {self.key} could not be released: {error}")

    def tick(self, now: float) -> None:
        if not self.is_held:
            self.lose("expired")
        elif now >= self._renew_at:
            self._renew_at = now + _RETRY
            if self._engine.is_greeted:
                self._engine.start(self._renew_quietly())

    async def _renew_quietly(self) -> None:
        try:
            await self.renew()
        except StarlingError as error:
            self._engine.log("warning", f"claim {self.key}: {error}")

    def deadline(self) -> float:
        return min(self._renew_at, self._valid_until)

    def lose(self, reason: str) -> None:
        if not self._is_over:
            self._engine.log("warning", f"the claim {self.key} is lost: {reason}")
            self._finish(reason)

    def released(self) -> None:
        """It was given up by a batch."""
        self._is_released = True
        self._finish(None)

    def _finish(self, reason: str | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._renew_at = NEVER
        self._forget(self)
        if not self.ended.done():
            self.ended.set_result(reason)


def refusal(answer: dict[str, Any]) -> StarlingError:
    """The error for an answer of ``refused``."""
    key, code, holder = answer["key"], answer["code"], answer.get("holder")
    words = {
        "held": f"{key} is held by {holder or 'another agent'}",
        "exists": f"{key} has a value that no claim made",
        "stale_fence": f"the claim of {key} is not in force any more",
    }
    return StarlingError(code, words.get(code, f"{key}: {code}"), answer)


class Holds:
    """The claims and the presence of a client."""

    def __init__(self, engine: Link) -> None:
        self._engine = engine
        self._leases: dict[Lease, None] = {}
        self._presences: dict[str, dict[str, Any]] = {}
        # The claims that nobody waits for any more, and that are not released yet.
        self._returns: set[asyncio.Future[None]] = set()
        # When a presence is to be announced again that the server refused for the time being.
        self._announce_at: dict[str, float] = {}

    async def claim(
        self, message: dict[str, Any], ttl: float | None, until: str | None, renew: bool, timeout: float = 10_000
    ) -> Lease:
        asked_at = self._engine.now()

        def take(answer: dict[str, Any]) -> Lease:
            if answer["type"] == "refused":
                raise refusal(answer)
            lease = Lease(self._engine, answer, ttl, until, renew, asked_at, lambda lease: self._leases.pop(lease, None))
            self._leases[lease] = None
            return lease

        request = self._engine.request(message, take, timeout)
        try:
            # Shielded: what is on its way is answered, whether somebody still waits for it or not.
            lease: Lease = await asyncio.shield(request)
        except asyncio.CancelledError:
            if not self._engine.withdraw(request):
                self._give_back(message["key"], request)
            raise
        self._engine.wake()
        return lease

    def _give_back(self, key: str, request: asyncio.Future[Lease]) -> None:
        """Nobody has this claim: it is released as soon as it is there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._returns.add(done)

        async def release() -> None:
            try:
                await (await request).release()
            except StarlingError as error:
                self._engine.log("info", f"the claim {key}, which nobody waits for, was not released: {error}")
            finally:
                self._returns.discard(done)
                if not done.done():
                    done.set_result(None)

        self._engine.start(release())

    def batched(self, message: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """A batch was answered: claims that it gave up are not held any more."""
        if answer.get("applied"):
            released = {write["key"]: write["release"] for write in message["writes"] if "release" in write}
            for lease in list(self._leases):
                if released.get(lease.key) == lease.fence:
                    lease.released()
        return answer

    async def release_all(self) -> None:
        """Gives up what is held."""
        held = [lease for lease in self._leases if lease.is_held]
        for problem in await asyncio.gather(*(lease.release() for lease in held), return_exceptions=True):
            if problem is not None:
                self._engine.log("info", f"a claim could not be released: {problem}")
        if self._returns:
            await asyncio.wait(list(self._returns))

    @property
    def need_connection(self) -> bool:
        """Whether something would be lost with the connection."""
        return any(lease.ends_with_connection for lease in self._leases)

    def present(self, message: dict[str, Any]) -> None:
        """Keeps a register up for as long as there is a connection, and again on the next one."""
        self._presences[message["key"]] = message
        if self._engine.is_greeted:
            self._engine.start(self._announce(message))

    async def _announce(self, message: dict[str, Any]) -> None:
        key = message["key"]
        self._announce_at.pop(key, None)
        try:
            await self._engine.request({"type": "broadcast", "until": "disconnect", **message})
        except StarlingError as error:
            self._engine.log("warning", f"presence {key}: {error}")
            if error.details.get("retry"):
                pause = error.details.get("retry_after_ms", 0) + _RETRY * 2 * self._engine.random()
                self._announce_at[key] = self._engine.now() + pause
                self._engine.wake()

    async def absent(self, key: str) -> None:
        self._announce_at.pop(key, None)
        if self._presences.pop(key, None) is not None and self._engine.is_greeted:
            await self._engine.request({"type": "delete", "key": key})

    def greeted(self) -> None:
        for message in self._presences.values():
            self._engine.start(self._announce(message))
        self.tick(self._engine.now())

    def deadline(self) -> float:
        announcements = self._announce_at.values() if self._engine.is_greeted else ()
        return min((*(lease.deadline() for lease in self._leases), *announcements), default=NEVER)

    def tick(self, now: float) -> None:
        for lease in list(self._leases):
            lease.tick(now)
        if self._engine.is_greeted:
            for key in [key for key, at in self._announce_at.items() if at <= now]:
                self._engine.start(self._announce(self._presences[key]))

    def disconnected(self) -> None:
        self._announce_at.clear()
        for lease in list(self._leases):
            if lease.ends_with_connection:
                lease.lose("disconnected")

    def close(self) -> None:
        for lease in list(self._leases):
            lease.lose("closed")
