"""Which server to use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: The weight of the newest round trip in the average (RFC 6298, section 2, has 1/8 too).
_SMOOTHING = 1 / 8
_FIRST_DELAY = 250
_LONGEST_DELAY = 30_000


@dataclass
class _Edge:
    url: str
    round_trip: float | None = None
    failures: int = 0
    open_until: float = 0


@dataclass(frozen=True)
class EdgeStatus:
    """What is known of an edge: its smoothed round trip in milliseconds, and whether its circuit breaker is ``closed``, ``open`` or
    ``half-open``."""

    url: str
    round_trip: float | None
    breaker: str


class Edges:
    """The servers that a client may use, what is known of them, and which one is next. Each has a circuit breaker: closed while all is
    well; open after a failure, for a time that doubles with each further one, drawn at random from 0 up ("full jitter", so that a
    thousand clients do not come back at once); half-open after that, when one attempt is made."""

    def __init__(self, urls: list[str], random: Callable[[], float]) -> None:
        self._random = random
        self._edges = {url: _Edge(url) for url in urls}

    def __len__(self) -> int:
        return len(self._edges)

    def choose(self, now: float) -> str | None:
        """The nearest edge that may be tried now; None while all breakers are open."""
        allowed = [edge for edge in self._edges.values() if edge.open_until <= now]
        # Those that never failed come first: an edge that is half-open is tried when there is nothing better.
        allowed.sort(key=lambda edge: (edge.failures > 0, edge.round_trip or 0))
        return allowed[0].url if allowed else None

    def next_attempt(self) -> float:
        """When the next edge may be tried."""
        return min(edge.open_until for edge in self._edges.values())

    def measured(self, url: str, round_trip: float) -> None:
        """Takes note of a round trip, in milliseconds."""
        edge = self._edges[url]
        old = edge.round_trip
        edge.round_trip = round_trip if old is None else old + (round_trip - old) * _SMOOTHING

    def succeeded(self, url: str) -> None:
        """Closes the breaker of an edge that works."""
        edge = self._edges[url]
        edge.failures, edge.open_until = 0, 0

    def failed(self, url: str, now: float, at_least: float = 0) -> None:
        """Opens the breaker of an edge for a while, at least for ``at_least`` milliseconds."""
        edge = self._edges[url]
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(edge.failures, 20))
        edge.failures += 1
        # What the server asks for is spread too: it asks everybody for the same.
        edge.open_until = now + at_least + self._random() * longest

    def forgive(self) -> None:
        """Half-opens all breakers: there is a reason to try again now."""
        for edge in self._edges.values():
            edge.open_until = 0

    def others(self, url: str, now: float) -> list[str]:
        """The edges beside the one in use that may be measured now."""
        return [edge.url for edge in self._edges.values() if edge.url != url and edge.open_until <= now]

    def better(self, url: str, now: float) -> str | None:
        """An edge that is so much nearer than the one in use that it is worth to move; None if there is none."""
        current = self._edges[url].round_trip
        if current is None:
            return None
        measured = [
            (edge.round_trip, edge.url)
            for edge in self._edges.values()
            if edge.url != url and edge.open_until <= now and edge.round_trip is not None and not edge.failures
        ]
        # A move costs a catch-up, so noise is no reason for one.
        if measured and min(measured)[0] * 1.5 + 2 < current:
            return min(measured)[1]
        return None

    def describe(self, now: float) -> list[EdgeStatus]:
        return [
            EdgeStatus(
                edge.url,
                edge.round_trip,
                "closed" if not edge.failures else "open" if edge.open_until > now else "half-open",
            )
            for edge in self._edges.values()
        ]
