"""What a client holds up on the server for as long as it lives: claims and presence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._errors import StarlingError

if TYPE_CHECKING:
    from ._engine import Engine

NEVER = float("inf")
#: Two thirds of a lease are left for renewals that fail at first.
_RENEW_AFTER = 1 / 3
_RETRY = 1_000


class Lease:
    """A claim that this client holds, renewed until it is released or lost.

    It is lost when the server says so, when its time has passed without a renewal, and, with ``until="disconnect"``, with the
    connection. A process that was paused does not know that yet: writes that must not happen then carry ``fence``.
    ``async with`` releases it at the end.
    """

    def __init__(
        self,
        engine: Engine,
        answer: dict[str, Any],
        ttl: float | None,
        until: str | None,
        renew: bool,
        forget: Callable[[Lease], None],
    ) -> None:
        self.key: str = answer["key"]
        #: What to show with fenced writes: ``{"key": lease.key, "token": lease.fence}``.
        self.fence: int = answer["fence"]
        self.is_held = True
        #: Done with the reason when the claim is lost, with None when it is released.
        self.ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._engine = engine
        self._ttl = ttl
        self._until = until
        self._renews = renew
        self._forget = forget
        self._renew_at = NEVER
        self._extended(answer["expires_at"])

    def _extended(self, expires_at: int) -> None:
        #: When it ends without a renewal, in milliseconds of the server's clock.
        self.expires_at = expires_at
        if self._ttl is not None and self._renews:
            self._renew_at = self._engine.now() + self._ttl * 1000 * _RENEW_AFTER
        self._engine.wake()

    async def renew(self, value: Any = None, metadata: dict[str, Any] | None = None, ttl: float | None = None) -> None:
        """Renews it, and can change its value.

        :raises StarlingError: ``held``, ``stale_fence``: it is lost; ``offline``
        """
        fields = {"ttl": ttl or self._ttl, "value": value, "metadata": metadata}
        present = {name: field for name, field in fields.items() if field is not None}
        answer = await self._engine.request({"type": "renew", "key": self.key, "fence": self.fence, **present})
        if answer["type"] == "refused":
            self.lose(answer["code"])
            raise refusal(answer)
        self._extended(answer["expires_at"])

    async def release(self) -> None:
        """Gives it up. Safe to repeat.

        :raises StarlingError: ``offline``, ``outcome_unknown``
        """
        self._renew_at = NEVER
        answer = await self._engine.request({"type": "release", "key": self.key, "fence": self.fence})
        if answer["type"] == "refused":
            raise refusal(answer)
        self._finish(None)

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.is_held:
            await self.release()

    def tick(self, now: float) -> None:
        if not self.is_held:
            return
        if self._until != "disconnect" and self._engine.server_now() >= self.expires_at:
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

    def deadline(self, now: float) -> float:
        left = NEVER if self._until == "disconnect" else self.expires_at - self._engine.server_now()
        return min(self._renew_at, now + max(0, left))

    def disconnected(self) -> None:
        if self._until == "disconnect":
            self.lose("disconnected")

    def lose(self, reason: str) -> None:
        if self.is_held:
            self._engine.log("warning", f"the claim {self.key} is lost: {reason}")
            self._finish(reason)

    def _finish(self, reason: str | None) -> None:
        self.is_held = False
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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._leases: dict[Lease, None] = {}
        self._presences: dict[str, dict[str, Any]] = {}

    async def claim(self, message: dict[str, Any], ttl: float | None, until: str | None, renew: bool) -> Lease:
        answer = await self._engine.request(message)
        if answer["type"] == "refused":
            raise refusal(answer)
        lease = Lease(self._engine, answer, ttl, until, renew, lambda lease: self._leases.pop(lease, None))
        self._leases[lease] = None
        self._engine.wake()
        return lease

    def present(self, message: dict[str, Any]) -> None:
        """Keeps a register up for as long as there is a connection, and again on the next one."""
        self._presences[message["key"]] = message
        if self._engine.is_greeted:
            self._engine.start(self._announce(message))

    async def _announce(self, message: dict[str, Any]) -> None:
        try:
            await self._engine.request({"type": "broadcast", "until": "disconnect", **message})
        except StarlingError as error:
            self._engine.log("warning", f"presence {message['key']}: {error}")

    async def absent(self, key: str) -> None:
        if self._presences.pop(key, None) is not None and self._engine.is_greeted:
            await self._engine.request({"type": "delete", "key": key})

    def greeted(self) -> None:
        for message in self._presences.values():
            self._engine.start(self._announce(message))
        self.tick(self._engine.now())

    def deadline(self, now: float) -> float:
        return min((lease.deadline(now) for lease in self._leases), default=NEVER)

    def tick(self, now: float) -> None:
        for lease in list(self._leases):
            lease.tick(now)

    def disconnected(self) -> None:
        for lease in list(self._leases):
            lease.disconnected()

    def close(self) -> None:
        for lease in list(self._leases):
            lease.lose("closed")
