"""The sockets of a client: the one in use, and those that measure other edges."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ._errors import StarlingError
from ._options import Token
from ._reasons import explain

_PROBE_TIMEOUT = 5.0
_PROBE_PINGS = 3
#: How long the server may take to say goodbye, in seconds.
_CLOSE_TIMEOUT = 1.0


class _Engine(Protocol):
    def opened(self) -> None: ...
    def received(self, text: str) -> None: ...
    def dropped(self, reason: str, code: str = ..., is_final: bool = ...) -> None: ...
    def abandoned(self) -> None: ...
    def probed(self, url: str, round_trip: float | None) -> None: ...


class _Attempt:
    """A connection, or the attempt at one."""

    def __init__(self) -> None:
        self.outgoing: asyncio.Queue[str] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None


class Sockets:
    """Dials, reads and writes. One task reads the connection in use, one writes what is queued for it."""

    def __init__(self, token: Token, options: dict[str, Any]) -> None:
        self.engine: _Engine
        self._token = token
        defaults = {
            # A server may speak other protocols elsewhere: this is the one that is meant.
            "subprotocols": ["starling.v1"],
            "compression": None,
            "max_size": None,
            "ping_interval": None,
            "proxy": None,
            "close_timeout": _CLOSE_TIMEOUT,
        }
        self._options: dict[str, Any] = {**defaults, **options}
        self._shown_token: str | None = None if callable(token) else token
        self._current: _Attempt | None = None
        self._probes: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sockets: set[ClientConnection] = set()

    def token(self) -> str | None:
        return self._shown_token

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs work beside everything else, until it is done or the client is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def dial(self, url: str) -> None:
        self._current = _Attempt()
        self._current.task = self.start(self._run(url, self._current))

    async def _run(self, url: str, attempt: _Attempt) -> None:
        reason, code, is_final = "", "offline", False
        try:
            await self._renew_token()
            async with self._connected(url) as socket:
                if self._current is attempt:
                    self.engine.opened()
                writer = self.start(_write(socket, attempt.outgoing))
                try:
                    async for text in socket:
                        if self._current is not attempt:
                            return
                        self.engine.received(text if isinstance(text, str) else text.decode())
                finally:
                    writer.cancel()
            reason = socket.close_reason or f"closed with code {socket.close_code}"
        except asyncio.CancelledError:
            # Neither a hang-up nor the end of the client: the event loop ends.
            if self._current is attempt:
                self.engine.abandoned()
            raise
        except Exception as error:  # noqa: BLE001: whatever ends a connection, the next one is tried
            code, reason, is_final = explain(error, url)
        if self._current is attempt:
            self._current = None
            self.engine.dropped(reason, code, is_final)

    async def _renew_token(self) -> None:
        if not callable(self._token):
            return
        try:
            token = self._token()
            token = await token if inspect.isawaitable(token) else token
        except Exception as error:
            raise StarlingError("offline", f"the token function raised {type(error).__name__}: {error}") from error
        if token is not None and not isinstance(token, str):
            raise StarlingError("offline", f"the token function gave {token!r}; it gives a text")
        self._shown_token = token

    @asynccontextmanager
    async def _connected(self, url: str) -> AsyncIterator[ClientConnection]:
        """A connection that ``close`` knows of."""
        connecting = connect(url, **self._options)
        socket = await connecting.__aenter__()
        self._sockets.add(socket)
        try:
            yield socket
        finally:
            try:
                await connecting.__aexit__(None, None, None)
            finally:
                # Only now: before, it says goodbye.
                self._sockets.discard(socket)

    def send(self, text: str) -> None:
        if self._current is not None:
            self._current.outgoing.put_nowait(text)

    def hang_up(self) -> None:
        attempt, self._current = self._current, None
        # From within its own message, it ends when the engine is done with that.
        if attempt is not None and attempt.task is not None and attempt.task is not asyncio.current_task():
            attempt.task.cancel()

    def probe(self, url: str) -> None:
        if url not in self._probes:
            self._probes.add(url)
            self.start(self._probe(url))

    async def _probe(self, url: str) -> None:
        """The least of a few round trips: what is on the way, not what is in front of it."""
        best: float | None = None
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT), self._connected(url) as socket:
                for _ in range(_PROBE_PINGS):
                    sent_at = time.perf_counter()
                    await socket.send('{"type":"ping"}')
                    while not str(await socket.recv()).startswith('{"type":"pong"'):
                        pass
                    round_trip = (time.perf_counter() - sent_at) * 1000
                    best = round_trip if best is None else min(best, round_trip)
        except Exception:  # noqa: BLE001: it does not answer, for whatever reason
            best = None
        self._probes.discard(url)
        self.engine.probed(url, best)

    async def close(self, patience: float) -> None:
        """Ends all of them, for at most so many seconds with a goodbye."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience)
        if late:
            for socket in list(self._sockets):
                socket.transport.abort()
            await asyncio.wait(late, timeout=_CLOSE_TIMEOUT / 4)


async def _write(socket: ClientConnection, outgoing: asyncio.Queue[str]) -> None:
    try:
        while True:
            await socket.send(await outgoing.get())
    except ConnectionClosed:
        pass  # The reader tells.
