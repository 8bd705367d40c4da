"""The client without async."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import starling
from starling import sync as blocking

from .support import HAS_SERVER, Server, free_port

logging.getLogger("starling").setLevel(logging.CRITICAL)

_NEVER_CLOSED = """
from starling.sync import connect
connect("ws://127.0.0.1:1").broadcast("k", 1, wait=False)
"""


def code_of(work: Callable[[], Any]) -> str:
    try:
        work()
    except starling.StarlingError as error:
        return error.code
    return "nothing"


def _every_call(client: blocking.Client) -> list[Callable[[], Any]]:
    return [
        lambda: client.get("k"),
        lambda: client.entry("k"),
        lambda: client.list(),
        lambda: client.edges,
        lambda: client.age(),
        lambda: client.on_state(print),
        lambda: client.subscribe("*", print),
        lambda: client.broadcast("k", 1, wait=False),
        lambda: client.broadcast("k", 1),
        lambda: client.delete("k"),
        lambda: client.fetch("k"),
        lambda: list(client.fetch_all()),
        lambda: client.claim("k"),
        lambda: client.presence("k", 1),
        lambda: client.pending_writes(),
        lambda: client.live(),
        lambda: client.drained(),
        lambda: client.disconnect(),
        lambda: client.reconnect(),
    ]


def _use_after_fork(client: blocking.Client, answers: Any) -> None:
    calls = [*_every_call(client), lambda: client.state, lambda: client.last_error, client.close, client.__exit__]
    answers.put({code_of(call) for call in calls})


def run_together(*works: Callable[[], Any], seconds: float = 8) -> bool:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return not any(thread.is_alive() for thread in threads)


class OfflineTests(unittest.TestCase):
    def setUp(self) -> None:
        self.client = blocking.connect(f"ws://127.0.0.1:{free_port()}")
        self.addCleanup(self.client.close, timeout=0)

    def test_a_fork_is_told_so(self) -> None:
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        child = context.Process(target=_use_after_fork, args=(self.client, answers))
        child.start()
        child.join(5)
        self.assertFalse(child.is_alive() and (child.kill() or True))
        self.assertEqual(answers.get(), {"wrong_process"})

    def test_closing_from_two_threads(self) -> None:
        codes: list[str] = []
        iterated: list[str] = []
        subscription = self.client.subscribe("*")
        waiting = [
            threading.Thread(target=lambda: codes.append(code_of(self.client.live)), daemon=True),
            threading.Thread(target=lambda: codes.append(code_of(lambda: self.client.broadcast("k", 1))), daemon=True),
            threading.Thread(target=lambda: iterated.append(code_of(lambda: list(subscription))), daemon=True),
        ]
        for thread in waiting:
            thread.start()
        time.sleep(0.1)
        self.assertTrue(run_together(*[lambda: self.client.close(timeout=0.1)] * 4))
        for thread in waiting:
            thread.join(5)
        self.assertEqual(codes, ["closed", "closed"])
        self.assertEqual(iterated, ["nothing"])
        self.assertEqual({code_of(call) for call in _every_call(self.client)}, {"closed"})
        self.assertEqual(self.client.state, "closed")
        subscription()

    def test_timeouts(self) -> None:
        self.assertEqual(code_of(lambda: self.client.live(timeout=0.1)), "offline")
        self.assertIn("nobody listens", str(self.client.last_error))
        with self.assertRaises(starling.StarlingError) as caught:
            self.client.broadcast("k", 1, timeout=0.05)
        self.assertEqual(caught.exception.code, "timeout")
        self.assertIn("stays queued", str(caught.exception))
        self.assertEqual([update.key for update in self.client.pending_writes()], ["k"])
        with self.assertRaisesRegex(TimeoutError, "nobody listens"):
            self.client.drained(timeout=0.05)
        self.assertEqual(code_of(lambda: self.client.subscribe("*").synced(timeout=0.05)), "timeout")
        self.assertEqual(code_of(lambda: self.client.broadcast("k", 1, expect=None, timeout=0.05)), "offline")
        for wrong in ("1", -1, float("nan"), True):
            options: Any = {"timeout": wrong}
            for call in (self.client.close, self.client.live, self.client.drained):
                self.assertEqual(code_of(lambda call=call: call(**options)), "bad_option")
        self.assertEqual(self.client.get("k"), 1)

    def test_the_end_of_the_process_is_no_silent_one(self) -> None:
        process = subprocess.run([sys.executable, "-c", _NEVER_CLOSED], capture_output=True, text=True, cwd=Path(__file__).parents[1])
        self.assertIn("1 writes that the server has not acknowledged", process.stderr)

    def test_an_option_that_there_is_not_is_an_error(self) -> None:
        client: Any = self.client
        for call in (
            lambda: client.broadcast("k", 1, exepct=None),
            lambda: client.claim("k", tll=1),
            lambda: client.subscribe("k", echos=False),
            lambda: blocking.connect("ws://127.0.0.1:1", agnet="x"),  # type: ignore[call-arg]
        ):
            with self.assertRaises(TypeError):
                call()

    def test_a_callback_that_does_not_return(self) -> None:
        wait = threading.Event()
        self.addCleanup(wait.set)
        self.client.subscribe("*", lambda update: wait.wait(20))
        self.client.broadcast("k", 1, wait=False)
        begin = time.monotonic()
        self.client.close(timeout=0.1)
        self.assertLess(time.monotonic() - begin, 3)

    def test_a_callback_that_ends_the_program(self) -> None:
        """In the client's thread it ends nothing, and what comes after it is told all the same."""
        told: list[str] = []

        def tell(update: starling.Update) -> None:
            told.append(update.key)
            if update.key == "a":
                raise (SystemExit if len(told) == 1 else KeyboardInterrupt)

        self.client.subscribe("*", tell)
        with self.assertLogs("starling", "ERROR") as log:
            for key in ("a", "b", "a", "c"):
                self.client.broadcast(key, 1, wait=False)
            end = time.monotonic() + 5
            while len(told) < 4 and time.monotonic() < end:
                time.sleep(0.01)
        self.assertEqual(told, ["a", "b", "a", "c"])
        self.assertIn("SystemExit", log.output[0])
        self.assertEqual(self.client.get("c"), 1)

    def test_from_a_callback(self) -> None:
        codes: list[str] = []
        values: list[Any] = []

        def told(update: starling.Update) -> None:
            if update.key == "first":
                self.client.broadcast("second", 2, wait=False)
                values.extend([self.client.get("second"), len(self.client.list()), self.client.entry("first")])
                for call in (lambda: self.client.broadcast("third", 3), self.client.live, self.client.close):
                    codes.append(code_of(call))
                subscription()

        subscription = self.client.subscribe("*", told)
        self.client.broadcast("first", 1, wait=False)
        end = time.monotonic() + 5
        while len(codes) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(codes, ["wrong_loop"] * 3)
        self.assertEqual(values[:2], [2, 2])
        self.assertEqual(code_of(lambda: list(subscription)), "bad_option")


@unittest.skipUnless(HAS_SERVER, "no server is built")
class ServerTests(unittest.TestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)

    def test_the_same_without_async(self) -> None:
        states: list[str] = []
        with blocking.connect(self.server.url, agent="script") as client:
            stop = client.on_state(states.append)
            client.live(timeout=10)
            self.assertEqual((client.agent, client.edge, len(client.edges)), ("script", self.server.url, 1))
            self.assertLess(client.age(), 10)
            with client.subscribe("t:*") as updates:
                updates.synced(timeout=5)
                client.broadcast("t:1", 1)
                for update in updates:
                    self.assertEqual(update.value, 1)
                    break
                self.assertEqual((updates.get("t:1"), len(updates.list())), (1, 1))
            for index in range(5):
                client.broadcast(f"t:{index}", index, wait=False)
            self.assertEqual([update.value for update in client.fetch_all("t:*", page_size=2)], [0, 1, 2, 3, 4])
            fetched = client.fetch("t:3", timeout=5)
            self.assertEqual(fetched and fetched.value, 3)
            with client.claim("lock", ttl=5) as lease:
                self.assertFalse(lease.wait_ended(timeout=0.05))
                lease.renew(value="mine")
                self.assertGreater(lease.expires_at, 0)
                self.assertEqual(code_of(lambda: client.claim("lock")), "held")
            self.assertTrue(lease.wait_ended(timeout=1) and lease.lost is None)
            leave = client.presence("here:script", 1)
            leave()
            client.disconnect()
            self.assertEqual(client.state, "offline")
            client.reconnect()
            client.live(timeout=5)
            stop()
        self.assertIn("offline", states)
        self.assertNotIn("closed", states)

    def test_closing_with_a_server_that_does_not_answer(self) -> None:
        client = blocking.connect(self.server.url)
        client.live(timeout=5)
        os.kill(self.server.process.pid, signal.SIGSTOP)
        try:
            client.broadcast("k", 1, wait=False)
            begin = time.monotonic()
            client.close(timeout=0.3)
            self.assertLess(time.monotonic() - begin, 1.3)
        finally:
            os.kill(self.server.process.pid, signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
