"""What carries out what the engine decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ._engine import Engine
from ._socket import Sockets

_LONGEST_SLEEP = 60_000


class Shell:
    """The engine's port: sockets, one timer, and those who want to know its state."""

    def __init__(self, sockets: Sockets) -> None:
        self.sockets = sockets
        self._engine: Engine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline = float("inf")
        self._is_closed = False
        self._listeners: list[Callable[[str], Any]] = []
        self._loop = asyncio.get_running_loop()
        self.dial = sockets.dial
        self.send = sockets.send
        self.hang_up = sockets.hang_up
        self.probe = sockets.probe

    def attach(self, engine: Engine) -> None:
        self._engine = engine
        self.sockets.engine = engine

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        self.sockets.start(work)

    def wake(self) -> None:
        """The deadline may have changed."""
        if self._engine is None or self._is_closed:
            return
        deadline = self._engine.deadline()
        # A timer that fires too early only looks at the clock; one for each message would cost more.
        if deadline >= self._timer_deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_deadline = deadline
        sleep = min(deadline - self._engine.now(), _LONGEST_SLEEP)
        self._timer = self._loop.call_later(max(0, sleep) / 1000 + 0.0005, self._fire, self._engine)

    def _fire(self, engine: Engine) -> None:
        self._timer_deadline = float("inf")
        engine.tick()

    def on_state(self, callback: Callable[[str], Any]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def state_changed(self, state: str) -> None:
        for listener in list(self._listeners):
            self._loop.call_soon(self._tell, listener, state)

    def _tell(self, listener: Callable[[str], Any], state: str) -> None:
        try:
            listener(state)
        except Exception as error:  # noqa: BLE001: whatever a listener raises is told, as with subscribers
            if self._engine is not None:
                self._engine.log("error", f"a listener to the state raised {error!r}")

    async def close(self, patience: float) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self.sockets.close(patience)
