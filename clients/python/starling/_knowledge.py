"""What a client knows of its server's time and of versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._clock import Clock, stamp_of
from ._register import Register

#: How far in the future a stamp may be that our clock follows, where the server does not say.
_DRIFT = 60_000
#: How many versions of own writes beside the outbox are remembered.
_OWN_VERSIONS = 1_000


class Knowledge:
    """What a client knows of its server's time and of versions: what is to be stamped is above all of it.

    :param wall: our wall clock, in milliseconds
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self.clock = Clock()
        self._wall = wall
        #: The server's wall clock less ours; None before the first welcome.
        self.offset: float | None = None
        self._drift: float = _DRIFT
        # Versions of own writes beside the outbox: conditional ones, claims, presence.
        self._own_versions: dict[str, None] = {}

    def now(self) -> float:
        """The server's wall clock, as far as it is known."""
        return self._wall() + (self.offset or 0)

    def welcomed(self, message: dict[str, Any]) -> float:
        """
        :return: the server's wall clock less ours
        """
        self._drift = message.get("limits", {}).get("drift_ms", _DRIFT)
        return self.set_time(message["time"])

    def set_time(self, server_time: float) -> float:
        self.offset = server_time - self._wall()
        return self.offset

    def correct(self, server_time: float) -> None:
        """Our clock turned out to be wrong."""
        self.set_time(server_time)
        if self.clock.milliseconds > server_time + self._drift:
            self.clock.reset()

    def learn(self, version: str | None) -> None:
        """Takes note of a version, but not of one that the server itself would refuse."""
        if version is None:
            return
        milliseconds, counter = stamp_of(version)
        if milliseconds <= self.now() + self._drift:
            self.clock.receive(milliseconds, counter)

    def learn_from(self, answer: dict[str, Any]) -> None:
        """Takes note of all versions in an answer."""
        failed = (failure.get("current") for failure in answer.get("failed", ()))
        for known in (answer, answer.get("winner"), answer.get("current"), *answer.get("registers", ()), *failed):
            if known:
                self.learn(known.get("version"))
        for version in answer.get("versions", ()):
            self.learn(version)

    def remember(self, version: str) -> None:
        """Takes note of an own write beside the outbox."""
        self._own_versions[version] = None
        if len(self._own_versions) > _OWN_VERSIONS:
            del self._own_versions[next(iter(self._own_versions))]

    def is_own(self, register: Register) -> bool:
        """Whether a register is this client's own write, and not what time has made of it."""
        return register.cause is None and (register.is_own or register.version in self._own_versions)
