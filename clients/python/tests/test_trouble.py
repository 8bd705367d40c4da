"""Servers that are gone, frozen or wrong, tasks that are cancelled, and options that are none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import starling
from starling._requests import Requests
from websockets.asyncio.server import serve

from .play import Player
from .support import HAS_SERVER, Server, free_port, until

logging.getLogger("starling").setLevel(logging.CRITICAL)

_NEVER_CLOSED = """
import asyncio, sys, starling
async def main():
    starling.connect(sys.argv[1]).broadcast("k", 1)
    await asyncio.sleep(float(sys.argv[2]))
asyncio.run(main())
"""


def offline() -> str:
    return f"ws://127.0.0.1:{free_port()}"


class OfflineTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.client = starling.connect(offline())
        await until(lambda: self.client.state == "offline", "it is offline")

    async def asyncTearDown(self) -> None:
        await self.client.close(timeout=0)

    async def test_who_asks_again_and_again_lets_others_run(self) -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while turns < 50:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for _ in range(100):
            with self.assertRaises(starling.StarlingError):
                await self.client.claim("k")
        self.assertTrue(task.done())

    async def test_an_outbox_in_use_stays_so(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outbox"
            outbox = starling.FileOutbox(path)
            async with starling.connect(offline(), outbox=outbox) as client:
                for other in (outbox, starling.FileOutbox(path)):
                    with self.assertRaises(starling.StarlingError) as caught:
                        starling.connect(offline(), outbox=other)
                    self.assertEqual(caught.exception.code, "outbox_failed")
                client.broadcast("k", 1)
            Path(f"{path}.lock").write_text(f"pid {os.getppid()}")
            with self.assertRaises(starling.StarlingError) as caught:
                outbox.load()
            advice = f"process {os.getppid()}; if that is no client of Starling, remove {os.path.realpath(path)}.lock"
            self.assertIn(advice, str(caught.exception))

    async def test_options_of_connect(self) -> None:
        for options in (
            {"ping_interval": 0},
            {"ping_interval": "10"},
            {"ping_timeout": float("nan")},
            {"probe_interval": float("inf")},
            {"outbox_limit": True},
            {"on_refused": "drop"},
            {"outbox": "x.db"},
            {"logger": "starling"},
            {"token": 5},
            {"websocket": "ssl"},
        ):
            checked: Any = options
            with self.assertRaises(starling.StarlingError) as caught:
                starling.connect("ws://127.0.0.1:1", **checked)
            self.assertEqual(caught.exception.code, "bad_option", options)
            self.assertIn(next(iter(options)), str(caught.exception))
        for urls in (None, 5, [None], b"ws://127.0.0.1"):
            wrong: Any = urls
            with self.assertRaises(starling.StarlingError) as caught:
                starling.connect(wrong)
            self.assertEqual(caught.exception.code, "bad_url")
        adapter = logging.LoggerAdapter(logging.getLogger("starling"), {})
        await starling.connect("ws://127.0.0.1:1", logger=adapter).close(timeout=0)

    async def test_callbacks_and_timeouts(self) -> None:
        client: Any = self.client
        for call in (
            lambda: client.subscribe("*", "print"),
            lambda: client.on_state(None),
            lambda: client.broadcast("k", 1, timeout="1"),
            lambda: aiter(client.subscribe("*", print)),
        ):
            with self.assertRaises(starling.StarlingError) as caught:
                call()
            self.assertEqual(caught.exception.code, "bad_option")
        for wrong in ("1", -1, True, float("nan")):
            for ask in (client.close, client.live, client.drained, lambda timeout: client.fetch("k", timeout=timeout)):
                with self.assertRaises(starling.StarlingError) as caught:
                    await ask(timeout=wrong)
                self.assertEqual(caught.exception.code, "bad_option")
        self.assertNotEqual(client.state, "closed")
        self.assertEqual(client.pending_writes(), [])

    async def test_a_listener_that_raises_is_told(self) -> None:
        with self.assertLogs("starling", "ERROR") as logs:
            self.client.on_state(lambda state: 1 / 0)
            self.client.reconnect()
            await until(lambda: logs.output, "it is logged")
        self.assertIn("ZeroDivisionError", logs.output[0])

    async def test_a_write_can_be_waited_for_like_a_future(self) -> None:
        pending: Any = self.client.broadcast("k", 1)
        done, waiting = await asyncio.wait([pending], timeout=0.01)
        self.assertEqual((done, waiting), (set(), {pending}))
        done, _ = await asyncio.wait({asyncio.ensure_future(pending)}, timeout=0.01)
        self.assertEqual(done, set())
        self.client.broadcast("k", 2)
        done, _ = await asyncio.wait([pending], timeout=1)
        self.assertEqual(done, {pending})
        self.assertEqual((pending.result().status, pending.exception(), pending.cancelled()), ("superseded", None, False))
        self.assertEqual([outcome.status for outcome in await asyncio.gather(pending)], ["superseded"])

    async def test_drained_says_why_not(self) -> None:
        self.client.broadcast("k", 1)
        with self.assertRaisesRegex(TimeoutError, "1 writes .*nobody listens"):
            await self.client.drained(timeout=0.01)

    async def test_no_presence_after_the_end(self) -> None:
        await self.client.close()
        with self.assertRaises(starling.StarlingError) as caught:
            self.client.presence("here:me", 1)
        self.assertEqual(caught.exception.code, "closed")

    async def test_a_token_function_that_raises(self) -> None:
        def token() -> str:
            raise ZeroDivisionError("division by zero")

        client = starling.connect(offline(), token=token)
        with self.assertRaisesRegex(starling.StarlingError, "the token function raised ZeroDivisionError: division by zero"):
            await client.live(timeout=0.1)
        await client.close(timeout=0)

    async def test_the_end_of_the_loop_is_no_silent_one(self) -> None:
        # One that takes connections and says nothing.
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _NEVER_CLOSED, url, "0.1", stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]
            )
            _, text = await process.communicate()
        self.assertIn(b"the event loop ended with 1 writes", text)

    async def test_a_silent_server_is_named(self) -> None:
        async def silent(socket: Any) -> None:
            await socket.wait_closed()

        async with serve(silent, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            client = starling.connect(f"ws://127.0.0.1:{port}")
            with self.assertRaisesRegex(starling.StarlingError, "says nothing"):
                await client.live(timeout=0.3)
            await client.close(timeout=0)


class PlayedTests(unittest.IsolatedAsyncioTestCase):
    async def test_a_verdict_needs_all_edges(self) -> None:
        player = Player({"urls": ["ws://one/sync", "ws://two/sync"]})
        engine = player.engine
        verdicts: list[starling.StarlingError] = []
        engine.on_verdict(verdicts.append)
        engine.dropped("wrong path", "not_found", is_final=True)
        self.assertEqual((verdicts, engine.has_verdict, str(engine.last_error)), ([], False, "wrong path"))
        engine.dropped("nobody listens")
        self.assertEqual(verdicts, [])
        await player.step({"advance": 1_000})
        self.assertEqual(engine.edge, "ws://two/sync")
        engine.dropped("wrong path too", "not_found", is_final=True)
        self.assertEqual((len(verdicts), engine.has_verdict), (1, True))
        engine.reconnect()
        self.assertFalse(engine.has_verdict)

    async def test_a_server_that_says_bye(self) -> None:
        player = Player({})
        await player.step({"connect": {}})
        await player.step({"receives": {"type": "bye", "code": "shutting_down", "reason": "maintenance"}})
        error = player.engine.last_error
        self.assertEqual((error and error.code, str(error)), ("offline", "the server says bye: shutting_down: maintenance"))

    async def test_a_websocket_that_says_nothing(self) -> None:
        player = Player({})
        player.engine.opened()
        await player.step({"advance": 10_001})
        self.assertIn("says nothing", str(player.engine.last_error))

    async def test_what_is_no_json_is_one_line(self) -> None:
        player = Player({})
        logged: list[str] = []
        player.engine._options.log = lambda level, text: logged.append(text) if level == "error" else None
        await player.step({"text": "<html>\n<body>"})
        self.assertEqual(logged, ["the server sent what is no JSON: '<html>\\n<body>'"])

    async def test_an_answer_of_on_refused_that_is_none(self) -> None:
        player = Player({})
        logged: list[str] = []
        player.engine._options.log = lambda level, text: logged.append(text)
        refuse: Any = lambda record, error: "retry"
        player.engine._options.on_refused = refuse
        await player.step({"connect": {}})
        await player.step({"write": "k", "value": 1, "as": "w"})
        await player.step({"sends": {"id": "$id"}})
        await player.step({"receives": {"type": "error", "id": "$id", "code": "drift", "message": "no"}})
        self.assertTrue(any("on_refused gave 'retry'" in text for text in logged))
        await player.step({"outcome": "w", "error": "drift"})

    async def test_what_was_not_sent_is_taken_back(self) -> None:
        requests = Requests()
        future = requests.ask({"type": "claim"}, lambda answer: answer, 0, 10)
        self.assertTrue(requests.withdraw(future))
        requests.send(1, lambda text, id: self.fail(text))


@unittest.skipUnless(HAS_SERVER, "no server is built")
class WithServerTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)

    async def test_a_cancelled_claim_is_given_back(self) -> None:
        async with starling.connect(self.server.url) as client, starling.connect(self.server.url) as other:
            await client.live()
            for index in range(60):
                claim = asyncio.create_task(client.claim(f"lock:{index}", ttl=60))
                # Before, during and after the answer.
                for _ in range(index // 4):
                    await asyncio.sleep(0)
                await asyncio.sleep(index % 4 / 2000)
                if not claim.cancel():
                    await (await claim).release()
                with contextlib.suppress(asyncio.CancelledError):
                    await claim
            for index in range(60):
                await self.can_claim(other, f"lock:{index}")
            self.assertFalse(client._engine.holds._leases)

    async def can_claim(self, client: starling.Client, key: str) -> None:
        end = time.monotonic() + 2
        while True:
            try:
                await client.claim(key, ttl=60)
                return
            except starling.StarlingError as error:
                if error.code != "held" or time.monotonic() > end:
                    raise
                await asyncio.sleep(0.02)

    async def test_closing_waits_for_what_is_given_back(self) -> None:
        async with starling.connect(self.server.url) as client:
            await client.live()
            with self.assertRaises(TimeoutError):
                await asyncio.wait_for(client.claim("lock", ttl=60), 0.0001)
        async with starling.connect(self.server.url) as client:
            await client.claim("lock")

    async def test_closing_with_a_server_that_does_not_answer(self) -> None:
        for timeout in (0, 0.5):
            client = starling.connect(self.server.url, websocket={"close_timeout": 30})
            await client.live()
            await client.claim(f"lock:{timeout}")
            os.kill(self.server.process.pid, signal.SIGSTOP)
            try:
                client.broadcast("k", 1)
                begin = time.monotonic()
                await client.close(timeout=timeout)
                self.assertLess(time.monotonic() - begin, timeout + 1)
            finally:
                os.kill(self.server.process.pid, signal.SIGCONT)
            self.assertEqual(len(asyncio.all_tasks()), 1, asyncio.all_tasks())

    async def test_the_second_of_two_urls_is_the_right_one(self) -> None:
        wrong = f"ws://127.0.0.1:{self.server.port}/sink"
        async with starling.connect([wrong, self.server.url]) as client:
            await client.live(timeout=5)
            self.assertEqual((client.edge, client.last_error), (self.server.url, None))
        client = starling.connect([wrong, wrong + "2"])
        with self.assertRaises(starling.StarlingError) as caught:
            await client.live(timeout=5)
        self.assertEqual(caught.exception.code, "not_found")
        await client.close(timeout=0)


if __name__ == "__main__":
    unittest.main()


@unittest.skipUnless(HAS_SERVER, "no server is built")
class ForgottenTokenTests(unittest.IsolatedAsyncioTestCase):
    async def test_nothing_is_given_up_for_a_forgotten_token(self) -> None:
        """Whether there is none, or the function that is to give it has none yet: no write is lost, and nobody is told that all is well."""
        server = Server(wants_token=True)
        self.addCleanup(server.stop)
        tokens: list[str | None] = [None]
        client = starling.connect(server.url, token=lambda: tokens[-1])
        self.addAsyncCleanup(client.close, 0)
        write = client.broadcast("k", 1)
        with self.assertRaises(starling.StarlingError) as caught:
            await client.live(timeout=10)
        self.assertEqual(caught.exception.code, "unauthorized")
        assert client.last_error
        self.assertEqual(client.last_error.code, "unauthorized")
        self.assertEqual(len(client.pending_writes()), 1)
        tokens.append(server.token)
        client.reconnect()
        await client.live(timeout=10)
        self.assertTrue((await write).applied)
