"""What an engine is told, and what it asks for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from ._errors import StarlingError
from ._outbox import OutboxStore

Token = str | Callable[[], str] | Callable[[], Awaitable[str]] | None
Logger = logging.Logger | logging.LoggerAdapter[Any]


class ClientOptions(TypedDict, total=False):
    """What ``connect`` takes beside the URLs: the options of :class:`Client`."""

    agent: str | None
    session: str | None
    token: Token
    outbox: OutboxStore | None
    outbox_limit: int
    ping_interval: float
    ping_timeout: float
    probe_interval: float
    on_refused: Callable[[dict[str, Any], StarlingError], str]
    logger: Logger | None
    websocket: Mapping[str, Any] | None


@dataclass
class Options:
    """What an engine is told at the start. Times are in milliseconds."""

    urls: list[str]
    agent: str | None
    random_agent: str
    session: str | None
    token: Callable[[], str | None]
    outbox: OutboxStore
    outbox_limit: int
    ping_interval: float
    ping_timeout: float
    probe_interval: float
    refused_delay: float
    on_refused: Callable[[dict[str, Any], StarlingError], str]
    #: A clock that nobody sets: for all that is to happen some time later.
    now: Callable[[], float]
    #: The wall clock.
    wall: Callable[[], float]
    random: Callable[[], float]
    log: Callable[[str, str], None]


class Port(Protocol):
    """What an engine wants carried out."""

    def dial(self, url: str) -> None: ...
    def send(self, text: str) -> None: ...
    def hang_up(self) -> None: ...
    def probe(self, url: str) -> None: ...
    def wake(self) -> None: ...
    def state_changed(self, state: str) -> None: ...
    def start(self, work: Coroutine[Any, Any, Any]) -> None: ...
