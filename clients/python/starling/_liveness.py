"""Whether the server is still there."""

from __future__ import annotations

from ._link import NEVER

#: A round trip longer than this says nothing about the difference of clocks.
_GOOD_ROUND_TRIP = 1_000
#: A timer that fires this late was kept waiting by this process, and answers may lie unread.
_LATE = 1_000


class Liveness:
    """Whether the server is still there: by pings, and by whatever else it sends. Times are in milliseconds of a clock that nobody
    sets."""

    def __init__(self, interval: float, timeout: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._ping_sent_at: float | None = None
        self._last_ping = -NEVER
        self.last_heard = -NEVER

    def disconnected(self) -> None:
        self._ping_sent_at = None

    def pinged(self, now: float) -> None:
        self._ping_sent_at = self._last_ping = now

    def ponged(self, now: float) -> tuple[float, bool] | None:
        """
        :return: the round trip, where this answers a ping; and whether it is good enough to set a clock by
        """
        if self._ping_sent_at is None:
            return None
        round_trip = now - self._ping_sent_at
        self._ping_sent_at = None
        return round_trip, round_trip <= _GOOD_ROUND_TRIP

    def deadline(self) -> float:
        if self._ping_sent_at is None:
            return self._last_ping + self._interval
        # Who is busy sending is alive, though its pong waits behind that.
        return max(self._ping_sent_at, self.last_heard) + self._timeout

    def tick(self, now: float) -> str | None:
        """What is to be done: ``ping``, ``leave`` or nothing."""
        if now < self.deadline():
            return None
        return "ping" if self._ping_sent_at is None or now > self.deadline() + _LATE else "leave"
