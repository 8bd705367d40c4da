"""What a subscriber has still to be told."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ._update import Update

#: How many updates wait for a subscriber one by one.
_BUFFER = 1024

Callback = Callable[[Update], Any] | Callable[[Update], Awaitable[Any]]


class Delivery:
    """What a subscriber has still to be told. Up to a thousand updates wait one by one; beyond that a newer update takes the place of
    the one that waits for its key, so that however slow a subscriber is, what waits is bounded by the number of keys.

    :param callback: the next update is held back until an awaitable that it returns is done; None: updates are taken by ``next``
    :param failed: is told what the callback raises
    """

    def __init__(self, callback: Callback | None, failed: Callable[[BaseException], None]) -> None:
        self._waiting: deque[list[Any]] = deque()
        # The newest that waits for each slot.
        self._latest: dict[Any, list[Any]] = {}
        self._callback = callback
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._waiters: list[asyncio.Future[None]] = []
        self._error: Exception | None = None

    @property
    def has_callback(self) -> bool:
        return self._callback is not None

    def push(self, slot: Any, update: Update) -> None:
        """Queues an update; ``slot`` says what it may be conflated with."""
        if self._is_closed:
            return
        latest = self._latest.get(slot)
        if latest is not None and len(self._waiting) >= _BUFFER:
            latest[1] = update
        else:
            item = self._latest[slot] = [slot, update]
            self._waiting.append(item)
        if self._callback is None:
            self._notify()
        elif self._task is None:
            self._start()

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())
        # What would end a program is raised where the loop runs, too; asyncio need not log it besides.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def take(self) -> Update | None:
        """The next update that waits; None if there is none."""
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        if self._latest.get(item[0]) is item:
            del self._latest[item[0]]
        update: Update = item[1]
        return update

    async def _run(self) -> None:
        # close() empties what waits, and so ends this loop: nothing is told after an unsubscribe.
        assert self._callback is not None
        try:
            while (update := self.take()) is not None:
                try:
                    result = self._callback(update)
                    if inspect.isawaitable(result):
                        await result
                except Exception as error:  # noqa: BLE001: whatever a subscriber raises is told, and the next update comes
                    self._failed(error)
        finally:
            self._task = None
            # Interrupted by what would end a program, as by sys.exit: what waits comes all the same, where the program goes on.
            this = asyncio.current_task()
            if self._waiting and this is not None and not this.cancelling():
                self._start()

    async def next(self) -> Update | None:
        """The next update; None at the end.

        :raises StarlingError: what the subscription failed with
        """
        while True:
            update = self.take()
            if update is not None:
                return update
            if self._error is not None:
                raise self._error
            if self._is_closed:
                return None
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                # Still there if the one who waits gave up.
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def close(self, error: Exception | None) -> None:
        """Ends it: what waits is dropped; ``error`` is what ``next`` raises from now on."""
        self._is_closed = True
        self._error = error
        self._waiting.clear()
        self._latest.clear()
        self._notify()
