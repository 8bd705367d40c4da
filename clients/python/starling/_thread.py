"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ._errors import StarlingError

Result = TypeVar("Result")

#: How long what still runs at the end may take to notice it, in seconds.
_LAST_TURNS = 0.2
#: How much longer than it should the end may take, where a callback does not return, in seconds.
_STUCK = 0.5


class LoopThread:
    """An event loop in a thread of its own, for the threads of one process."""

    def __init__(self, interrupted: Callable[[BaseException], None]) -> None:
        """
        :param interrupted: is told, in the thread, what a callback raises that would end a program; here it ends nothing
        """
        self._interrupted = interrupted
        self._has_ended = False
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        # Nothing is handed over any more once it is closed: nobody would answer.
        self._lock = threading.Lock()
        self._is_closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="starling", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._has_ended:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001: sys.exit and the like; whoever waits for the client waits on
                self._interrupted(error)
        self._loop.close()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def is_here(self) -> bool:
        """Whether this is a callback of the client."""
        return threading.current_thread() is self._thread

    @property
    def is_of_this_process(self) -> bool:
        return os.getpid() == self._process

    def check_process(self) -> None:
        """
        :raises StarlingError: ``wrong_process``: the thread did not come along
        """
        if not self.is_of_this_process:
            raise StarlingError("wrong_process", "a client does not outlive a fork: make another one in the new process")

    def check_thread(self) -> None:
        """
        :raises StarlingError: ``wrong_loop``: it would wait for itself
        """
        if self.is_here:
            text = "this waits, and so cannot be called from a callback of the client; give the work to another thread"
            raise StarlingError("wrong_loop", text)

    def call(self, work: Callable[[], Result]) -> Result:
        """Calls what does not wait in the loop's thread; from a callback too."""
        self.check_process()
        if not self.is_here:
            return self._wait(work)
        self._check_open()
        return work()

    def wait(self, work: Callable[[], Awaitable[Result]], timeout: float | None = None) -> Result:
        """Calls in the loop's thread, and waits for what comes of it.

        :raises TimeoutError: it does not answer at all, for a callback that does not return
        """
        self.check_process()
        self.check_thread()
        return self._wait(work, timeout)  # type: ignore[return-value]

    def _wait(self, work: Callable[[], Result], timeout: float | None = None) -> Result:
        answer: Future[Result] = Future()
        tasks: list[asyncio.Task[None]] = []

        async def run() -> None:
            try:
                result: Any = work()
                answer.set_result(await result if inspect.isawaitable(result) else result)
            except asyncio.CancelledError:
                answer.set_exception(_closed())
            except BaseException as error:  # noqa: BLE001: it belongs to who waits
                answer.set_exception(error)

        def begin() -> None:
            task = self._loop.create_task(run())
            tasks.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        with self._lock:
            self._check_open()
            self._loop.call_soon_threadsafe(begin)
        try:
            return answer.result(timeout)
        except BaseException:
            if not answer.done():
                # Nobody waits any more, as after Ctrl-C.
                self._give_up(tasks)
            raise

    def _give_up(self, tasks: list[asyncio.Task[None]]) -> None:
        with self._lock:
            if not self._is_closed:
                self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()

    def stop(self) -> None:
        """Ends it. Whoever waits for something is told ``closed``. Safe to repeat."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._loop.call_soon_threadsafe(lambda: self._tasks.add(self._loop.create_task(self._end())))
        # A callback that does not return keeps its thread, which does not keep the process.
        self._thread.join(2 * _LAST_TURNS + _STUCK)

    async def _end(self) -> None:
        """What waits mostly knows by itself that the client was closed."""
        for is_last in (False, True):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others and is_last:
                for task in others:
                    task.cancel()
            if others:
                await asyncio.wait(others, timeout=_LAST_TURNS)
        await self._loop.shutdown_asyncgens()
        self._has_ended = True
        self._loop.stop()


def _closed() -> StarlingError:
    return StarlingError("closed", "the client was closed")
