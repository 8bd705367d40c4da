"""What new users stumble over, and what must not pass in silence."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

import starling
import websockets
from starling._outbox import Outbox
from starling._register import parse
from websockets.asyncio.client import connect as connect_raw

from .support import HAS_SERVER, Server, free_port, until

logging.getLogger("starling").setLevel(logging.CRITICAL)

_HOLD_OUTBOX = """
import asyncio, sys, starling
async def main():
    starling.connect("ws://127.0.0.1:1", outbox=starling.FileOutbox(sys.argv[1]))
    print("held", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


_FULL_DISK = """
import asyncio, resource, signal, sys, starling
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    client = starling.connect("ws://127.0.0.1:1", outbox=starling.FileOutbox(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        for number in range(100):
            client.broadcast(f"key-{number}", "x" * 50)
    except starling.StarlingError as error:
        print(error.code)
    kept = len(client.pending_writes())
    await client.close()
    print("closed")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    async with starling.connect("ws://127.0.0.1:1", outbox=starling.FileOutbox(sys.argv[1])) as client:
        if len(client.pending_writes()) == kept > 0:
            print("opened")
asyncio.run(main())
"""


def _use_after_fork(client: starling.Client, answers: Any) -> None:
    try:
        client.broadcast("x", 1)
    except starling.StarlingError as error:
        answers.put(error.code)


class OutboxFileTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "outbox"

    def assert_refused(self, containing: str) -> None:
        with self.assertRaises(starling.StarlingError) as caught:
            starling.connect("ws://127.0.0.1:1", outbox=starling.FileOutbox(self.path))
        self.assertEqual(caught.exception.code, "outbox_failed")
        self.assertIn(containing, str(caught.exception))

    async def test_a_file_that_is_none_of_its_own_stays_as_it_is(self) -> None:
        for content in (b"important\n" * 100, b'{"a": 1}\n', b"\xff\xfe\n", b"[1]\n[2]\n", b'{"starling": "outbox", "format": 99}\n', b"cut"):
            self.path.write_bytes(content)
            self.assert_refused(str(self.path))
            self.assertEqual(self.path.read_bytes(), content)

    async def test_what_an_earlier_version_left_is_taken(self) -> None:
        self.path.write_text('{"put": {"key": "k", "version": "018bcfe56800-0000-me", "value": "1"}}\n{"done": "x"}\n{"put": {"ke')
        async with starling.connect("ws://127.0.0.1:1", outbox=starling.FileOutbox(self.path)) as client:
            self.assertEqual([update.key for update, _ in client.pending_writes()], ["k"])
        self.assertTrue(self.path.read_text().startswith('{"starling": "outbox"'))

    async def test_one_process_at_a_time(self) -> None:
        holder = subprocess.Popen([sys.executable, "-c", _HOLD_OUTBOX, str(self.path)], stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout
            self.assertEqual(holder.stdout.readline(), "held\n")
            self.assert_refused(f"process {holder.pid}")
        finally:
            holder.kill()
            holder.communicate()
        async with starling.connect("ws://127.0.0.1:1", outbox=starling.FileOutbox(self.path)):
            self.assert_refused("another client of this process")
        # What clients in languages without such locks write.
        Path(f"{self.path}.lock").write_text(f"pid {os.getppid()}")
        self.assert_refused(f"process {os.getppid()}")

    async def test_a_file_that_went_away_takes_nothing(self) -> None:
        """Removed, replaced, cut off or added to: what is written into it would never be read."""
        other = self.path.with_name("other")
        for spoil in (
            lambda: self.path.unlink(),
            lambda: (other.write_bytes(self.path.read_bytes()), other.rename(self.path)),
            lambda: os.truncate(self.path, 5),
            lambda: os.truncate(self.path, 10_000),
        ):
            self.path.unlink(missing_ok=True)
            async with starling.connect("ws://127.0.0.1:1", outbox=starling.FileOutbox(self.path)) as client:
                client.broadcast("before", 1)
                spoil()
                with self.assertRaises(starling.StarlingError) as caught:
                    client.broadcast("after", 1)
                self.assertEqual(caught.exception.code, "outbox_failed")

    async def test_a_file_with_two_names_and_what_is_no_file(self) -> None:
        self.path.write_text('{"starling": "outbox", "format": 1}\n')
        os.link(self.path, f"{self.path}.too")
        self.assert_refused("hard links")
        self.path = Path("/dev/full")
        self.assert_refused("no file")

    @unittest.skipUnless(sys.platform == "linux", "needs a limit on the size of files that is told as an error")
    async def test_a_full_disk(self) -> None:
        """What is refused leaves no half of a line, and closing goes on; what is there can be opened, and is sent."""
        program = [sys.executable, "-c", _FULL_DISK, str(self.path)]
        result = subprocess.run(program, capture_output=True, text=True, timeout=30)
        self.assertEqual(result.stdout.split(), ["outbox_failed", "closed", "opened"], result.stderr)
        self.assertTrue(self.path.read_bytes().endswith(b"}\n"))

    async def test_a_write_that_cannot_be_stamped_anew_is_kept_as_it_was(self) -> None:
        """A full disk takes no new record, and the old one is not to be forgotten for it."""
        store = starling.FileOutbox(self.path)
        store.load()
        failures: list[Exception] = []
        outbox = Outbox(store, failures.append)
        write = outbox.add({"key": "k", "version": "018bcfe56800-0000-me", "value": "1"})
        with unittest.mock.patch.object(store, "put", side_effect=OSError("no space left on device")):
            outbox.restamp(write, "018bcfe56800-0000-other")
        self.assertEqual(len(failures), 1)
        store.close()
        again = starling.FileOutbox(self.path)
        self.assertEqual([record["version"] for record in again.load()], ["018bcfe56800-0000-me"])
        again.close()
        # Its final answer is that of the record too, under whatever version that is there.
        store.load()
        outbox.finish(write)
        store.close()
        self.assertEqual(starling.FileOutbox(self.path).load(), [])

    async def test_a_closed_outbox_takes_nothing(self) -> None:
        outbox = starling.FileOutbox(self.path)
        outbox.load()
        outbox.close()
        with self.assertRaises(starling.StarlingError):
            outbox.put({"key": "k", "version": "v"})


class RefusalTests(unittest.IsolatedAsyncioTestCase):
    """Without a server: what is refused before anything is sent."""

    async def asyncSetUp(self) -> None:
        self.client = starling.connect("ws://127.0.0.1:1")

    async def asyncTearDown(self) -> None:
        await self.client.close(timeout=0)

    async def test_an_option_that_there_is_not_is_an_error(self) -> None:
        client: Any = self.client
        for call in (
            lambda: client.broadcast("k", 1, exepct=None),
            lambda: client.broadcast("k", 1, tll=1),
            lambda: client.delete("k", ttl=1),
            lambda: client.subscribe("k", echos=False),
            lambda: starling.connect("ws://127.0.0.1:1", agnet="x"),
        ):
            with self.assertRaises(TypeError):
                call()
        self.assertEqual(client.pending_writes(), [])

    async def test_what_no_server_would_take(self) -> None:
        deep: Any = 1
        for _ in range(130):
            deep = [deep]
        client: Any = self.client
        for code, call in (
            ("bad_value", lambda: client.broadcast("k", 1, ttl=True)),
            ("bad_value", lambda: client.broadcast("k", 1, ttl="1")),
            ("bad_value", lambda: client.broadcast("k", float("inf"))),
            ("bad_value", lambda: client.broadcast("k", {"half": "\ud83d"})),
            ("bad_value", lambda: client.broadcast("k", deep)),
            ("bad_value", lambda: client.broadcast("k", 1, metadata=[1])),
            ("bad_value", lambda: client.broadcast("k", 1, metadata={"m": object()})),
            ("bad_value", lambda: client.broadcast("k", 1, session="a\nb")),
            ("bad_value", lambda: client.broadcast("k", 1, expect=3)),
            ("bad_value", lambda: client.broadcast("k", 1, transient="yes")),
            ("bad_value", lambda: client.broadcast("k", 1, fence={"key": "k"})),
            ("bad_value", lambda: client.broadcast("k", 1, fence={"key": "k", "token": 1.5})),
            ("bad_value", lambda: client.broadcast("k", 1, fence=3)),
            ("bad_value", lambda: client.presence("k", float("nan"))),
            ("bad_value", lambda: client.presence("k", "\udc00")),
            ("bad_key", lambda: client.broadcast("half \ud83d", 1)),
            ("bad_key", lambda: client.broadcast("", 1)),
            ("bad_key", lambda: client.broadcast("k" * 513, 1)),
            ("bad_key", lambda: client.delete("a\x00b")),
            ("bad_key", lambda: client.presence(None, 1)),
            ("bad_value", lambda: client.broadcast("k", 1, ttl=10**400)),
            ("bad_value", lambda: client.broadcast("k", 10**5000)),
            ("bad_key", lambda: client.get(5)),
            ("bad_key", lambda: client.entry(None)),
            ("bad_pattern", lambda: client.list(5)),
            ("bad_pattern", lambda: client.subscribe(1)),
            ("bad_option", lambda: client.subscribe("*", snapshot="no")),
            ("bad_option", lambda: client.subscribe("*", echo=0)),
            ("bad_option", lambda: starling.connect("ws://127.0.0.1:1", ping_interval=10**400)),
            ("bad_option", lambda: starling.FileOutbox("x", fsync="yes")),
            ("bad_pattern", lambda: client.subscribe("\ud83d*")),
            ("bad_url", lambda: starling.connect([])),
            ("bad_url", lambda: starling.connect("ws://127.0.0.1:99999")),
            ("bad_url", lambda: starling.connect("http://127.0.0.1")),
            ("bad_agent", lambda: starling.connect("ws://127.0.0.1:1", agent="")),
            ("bad_agent", lambda: starling.connect("ws://127.0.0.1:1", agent="x" * 65)),
        ):
            with self.assertRaises(starling.StarlingError) as caught:
                call()
            self.assertEqual(caught.exception.code, code, caught.exception)
        for code, ask in (
            ("bad_key", client.fetch("x\ud83d")),
            ("bad_value", client.claim("k", ttl=True)),
            ("bad_value", client.claim("k", until="later")),
            ("bad_option", client.claim("k", renew="no")),
            ("bad_option", anext(client.fetch_all("*", page_size=0))),
            ("bad_value", client.claim("k", value=float("nan"))),
        ):
            with self.assertRaises(starling.StarlingError) as caught:
                await ask
            self.assertEqual(caught.exception.code, code, caught.exception)

    async def test_giving_up_waiting_ends_nothing(self) -> None:
        write = self.client.broadcast("k", 1)
        for waiting in (self.client.drained(), write, self.client.pending_writes()[0][1]):
            with self.assertRaises(TimeoutError):
                await asyncio.wait_for(waiting, 0.02)
        self.assertEqual(len(self.client.pending_writes()), 1)
        with self.assertRaises(TimeoutError):
            await self.client.drained(timeout=0.02)

    async def test_another_loop_thread_or_process_is_told_so(self) -> None:
        codes: list[str] = []

        def use() -> None:
            try:
                asyncio.run(self.client.fetch("x"))
            except starling.StarlingError as error:
                codes.append(error.code)
            try:
                self.client.broadcast("x", 1)
            except starling.StarlingError as error:
                codes.append(error.code)

        thread = threading.Thread(target=use)
        thread.start()
        await asyncio.to_thread(thread.join)
        self.assertEqual(codes, ["wrong_loop", "wrong_loop"])
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        child = context.Process(target=_use_after_fork, args=(self.client, answers))
        child.start()
        await asyncio.to_thread(child.join)
        self.assertEqual(answers.get(), "wrong_process")


class NumberTests(unittest.TestCase):
    def test_integers_of_any_length(self) -> None:
        for digits in (1, 4_300, 4_301, 12_345, 100_000):
            value = parse("[-" + "7" * digits + ", 1]")[0]
            self.assertEqual(value % 10**9, (-int("7" * min(digits, 4_000))) % 10**9)
            self.assertEqual(value, -7 * (10**digits - 1) // 9)


@unittest.skipUnless(HAS_SERVER, "no server is built")
class WithServerTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)

    async def test_what_is_not_queued_is_waited_for_too(self) -> None:
        """By drained, and at the end: conditional and transient writes, and those of an outbox that was not connected yet."""
        with tempfile.TemporaryDirectory() as folder:
            async with starling.connect(self.server.url, outbox=starling.FileOutbox(f"{folder}/outbox")) as client:
                client.broadcast("queued", 1)
                conditional = client.broadcast("conditional", 1, expect=None)
                await client.drained(timeout=10)
                self.assertTrue(asyncio.ensure_future(conditional).done())
                for number in range(300):
                    client.broadcast(f"many:{number}", 1, expect=None)
            async with starling.connect(self.server.url, outbox=starling.FileOutbox(f"{folder}/outbox")) as client:
                client.broadcast("short", 1)
        async with starling.connect(self.server.url) as client:
            self.assertEqual(len([update async for update in client.fetch_all("many:*")]), 300)
            for key in ("queued", "conditional", "short"):
                self.assertIsNotNone(await client.fetch(key))

    async def test_a_value_is_what_it_was_when_it_was_given(self) -> None:
        async with starling.connect(self.server.url) as client:
            for options in ({}, {"expect": None}, {"transient": True}):
                value, metadata = {"x": [1]}, {"m": 1}
                seen: list[Any] = []
                unsubscribe = client.subscribe("v", lambda update: seen.append((update.value, update.metadata)), snapshot=False)
                await client.live()
                write = client.broadcast("v", value, metadata=types.MappingProxyType(metadata), **options)
                value["x"].append(2)
                metadata["m"] = 2
                await write
                await until(lambda: seen, "it is told")
                self.assertEqual(seen[-1], ({"x": [1]}, {"m": 1}))
                unsubscribe()
                await client.delete("v")

    async def test_a_touch_lets_a_key_live_longer(self) -> None:
        async with starling.connect(self.server.url) as client:
            client.subscribe("k")
            outcome = await client.broadcast("k", 1, ttl=60)
            self.assertTrue(await client.touch("k", 600))
            await until(lambda: (client.entry("k").expires_at or 0) > outcome.expires_at, "it is told")
            self.assertEqual(client.entry("k").version, outcome.version)
            self.assertFalse(await client.touch("nothing", 600))
            for ttl in (None, -1, "1"):
                with self.assertRaises(starling.StarlingError):
                    await client.touch("k", ttl)

    async def test_a_batch_is_applied_whole_or_not_at_all(self) -> None:
        async with starling.connect(self.server.url) as client:
            client.subscribe("*")
            lease = await client.claim("lock", ttl=60)
            require = [{"key": "lock", "fence": lease.fence}, {"key": "none", "version": None}]
            made = await client.batch([{"key": "a", "value": {"x": 1}, "expect": None}, {"key": "b", "value": None, "ttl": 60}], require=require)
            self.assertTrue(made.applied)
            self.assertEqual(made.last, made.first + 1)
            await until(lambda: client.entry("b") and client.entry("b").version == made.versions[1], "it is told")
            self.assertEqual(client.get("a"), {"x": 1})
            refused = await client.batch([{"key": "a", "delete": True, "expect": None}, {"key": "c", "value": 1}])
            self.assertFalse(refused.applied)
            self.assertEqual([(one["write"], one["reason"], one["current"]["version"]) for one in refused.failed], [(0, "condition", made.versions[0])])
            self.assertIsNone(await client.fetch("c"))
            done = [{"key": "a", "delete": True}, {"key": "lock", "release": lease.fence}]
            outcome = await client.batch(done, op="0011223344556677")
            self.assertFalse(lease.is_held)
            self.assertIsNone(await lease.ended)
            await client.broadcast("a", 2)
            self.assertEqual(await client.batch(done, op="0011223344556677"), outcome)
            self.assertEqual((await client.fetch("a")).value, 2)
            self.assertEqual((await client.request("get", {"key": "a"}))["value"], 2)
            async with starling.connect(self.server.url) as other:
                await other.claim("lock", ttl=60)
                await lease.release()
            # It need not be awaited.
            client.batch([{"key": "left", "value": 1}])
            await until(lambda: client.get("left") == 1, "it is made")
            with self.assertRaises(starling.StarlingError):
                await client.request("subscribe", {"pattern": "*"})

    async def test_a_batch_that_may_have_been_made_is_asked_again_until_it_is_known(self) -> None:
        """A server that loses the first answer, and has no time for the second."""
        asked: list[str] = []

        async def serve(connection: Any) -> None:
            await connection.send(json.dumps({"type": "welcome", "limits": {}, "time": int(time.time() * 1000), "agent": "a"}))
            async for text in connection:
                message = json.loads(text)
                if message["type"] == "ping":
                    await connection.send(json.dumps({"type": "pong", "id": message.get("id"), "time": int(time.time() * 1000)}))
                elif message["type"] == "hello":
                    welcome = {"type": "welcome", "id": message["id"], "limits": {}, "time": int(time.time() * 1000), "agent": "a"}
                    await connection.send(json.dumps(welcome))
                elif message["type"] == "batch":
                    asked.append(message["op"])
                    if len(asked) == 1:
                        return
                    answer = {"type": "error", "code": "overloaded", "message": "no time", "retry": True}
                    if message["op"] == "never":
                        answer["retry"] = False
                    elif len(asked) > 2:
                        answer = {"type": "batched", "applied": True, "durable": True, "first": 1, "last": 1, "versions": ["01a0c5d3e800-0000-a"]}
                    await connection.send(json.dumps({**answer, "id": message["id"]}))

        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with starling.connect(f"ws://127.0.0.1:{port}/sync") as client:
                self.assertTrue((await client.batch([{"key": "a", "value": 1}])).applied)
                self.assertEqual(len(asked), 3)
                self.assertEqual(len(set(asked)), 1)
                # Not known, and not to be found out: that is no refusal.
                asked.clear()
                with self.assertRaises(starling.StarlingError) as caught:
                    await client.batch([{"key": "a", "value": 1}], op="never")
                self.assertEqual(caught.exception.code, "outcome_unknown")
                self.assertEqual(caught.exception.details, {"op": "never"})

    async def test_a_batch_that_would_be_another_one_is_refused_here(self) -> None:
        write = {"key": "k", "value": 1}
        cases: list[tuple[str, Any, dict[str, Any]]] = [
            ("bad_option", [], {}), ("bad_option", None, {}), ("bad_option", "abc", {}), ("bad_option", [write] * 257, {}),
            ("bad_option", [write, write], {}), ("bad_option", [{**write, "timestamp": 1}], {}), ("bad_value", [{**write, "expect": 7}], {}),
            ("bad_option", [{"key": "k", "delete": True, "value": 1}], {}), ("bad_value", [{"key": "k", "release": "1"}], {}),
            ("bad_option", [7], {}), ("bad_key", [{"value": 1}], {}), ("bad_value", [{"key": "k"}], {}), ("bad_value", [{**write, "ttl": 0}], {}),
            ("bad_option", [write], {"require": [{"key": "k"}]}), ("bad_option", [write], {"require": [{"key": "k", "version": None, "fence": 1}]}),
            ("bad_option", [write], {"require": [{"key": "k", "version": None}] * 2}), ("bad_value", [write], {"op": ""}),
        ]
        async with starling.connect(self.server.url) as client:
            for code, writes, options in cases:
                with self.assertRaises(starling.StarlingError) as caught:
                    await client.batch(writes, **options)
                self.assertEqual(caught.exception.code, code, (writes, options))
            self.assertIsNone(await client.fetch("k"))

    async def test_timeouts_end_the_waiting(self) -> None:
        async with starling.connect(self.server.url) as client:
            await client.live()
            os.kill(self.server.process.pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                for code, ask in (
                    ("timeout", client.broadcast("k", 1, timeout=0.2)),
                    ("timeout", client.fetch("k", timeout=0.2)),
                    ("outcome_unknown", client.broadcast("k", 1, expect=None, timeout=0.2)),
                ):
                    with self.assertRaises(starling.StarlingError) as caught:
                        await ask
                    self.assertEqual(caught.exception.code, code)
                self.assertLess(time.monotonic() - started, 5)
            finally:
                os.kill(self.server.process.pid, signal.SIGCONT)
        for call in (lambda: client.get("k"), lambda: client.list(), lambda: client.entry("k")):
            with self.assertRaises(starling.StarlingError) as caught:
                call()
            self.assertEqual(caught.exception.code, "closed")

    async def test_writes_that_were_not_awaited_are_made_before_the_end(self) -> None:
        async with starling.connect(self.server.url) as client:
            for index in range(1000):
                client.broadcast(f"k:{index}", index)
        async with starling.connect(self.server.url) as client:
            self.assertEqual(len([update async for update in client.fetch_all("k:*")]), 1000)

    async def test_what_is_left_at_the_end_is_said(self) -> None:
        with self.assertLogs("starling", "WARNING") as logs:
            client = starling.connect(f"ws://127.0.0.1:{free_port()}")
            client.broadcast("k", 1)
            await client.close(timeout=0.2)
        self.assertTrue(any("1 writes" in line for line in logs.output), logs.output)

    async def test_questions_wait_for_the_connection_and_for_the_writes_before_them(self) -> None:
        async with starling.connect(self.server.url) as client:
            self.assertIsNone(await client.fetch("nothing"))
        async with starling.connect(self.server.url) as client:
            for index in range(1000):
                client.broadcast(f"k:{index}", index)
            fetched = await client.fetch("k:999")
            self.assertEqual(fetched and fetched.value, 999)
            self.assertEqual((await client.broadcast("k:998", 0, expect=None)).status, "condition")

    async def test_an_acknowledgement_says_what_took_effect(self) -> None:
        async with starling.connect(self.server.url) as client:
            outcome = await client.broadcast("k", 1, ttl=60, expect=None)
            self.assertTrue(outcome.judged and outcome.expires_at)
            outcome = await client.broadcast("k", 1, ttl=60)
            self.assertTrue(not outcome.judged and outcome.expires_at)
            self.assertIsNone((await client.broadcast("k", 1)).expires_at)

    async def test_a_number_that_is_too_long_stops_nobody(self) -> None:
        async with connect_raw(self.server.url) as raw:
            await raw.recv()
            await raw.send('{"type":"broadcast","id":1,"key":"n","value":' + "1" * 4301 + "}")
            self.assertIn("applied", str(await raw.recv()))
        async with starling.connect(self.server.url) as client:
            subscription = client.subscribe("*")
            await subscription.synced
            self.assertEqual(len(subscription.list()), 1)
            self.assertIn("digits", repr(subscription.list()))
            self.assertEqual((await client.broadcast("n", 0, expect=None)).status, "condition")

    async def test_an_error_in_the_body_of_a_claim_is_what_comes_out(self) -> None:
        async with starling.connect(self.server.url) as client:
            with self.assertRaises(KeyError):
                async with await client.claim("lock", ttl=5):
                    client.disconnect()
                    raise KeyError("mine")

    async def test_closing_releases_what_is_held(self) -> None:
        async with starling.connect(self.server.url) as client:
            await client.claim("lock", ttl=60)
        async with starling.connect(self.server.url) as client:
            await client.claim("lock")

    async def test_why_there_is_no_connection(self) -> None:
        async def fails(url: str, code: str, words: str) -> None:
            with self.assertLogs("starling", "WARNING") as logs:
                client = starling.connect(url)
                with self.assertRaises(starling.StarlingError) as caught:
                    await client.live(timeout=2)
                self.assertEqual(caught.exception.code, code, caught.exception)
                self.assertIn(words, str(caught.exception))
                self.assertIn(words, str(client.last_error))
                await asyncio.sleep(0.6)
                await client.close(timeout=0)
            self.assertEqual(len(logs.output), 1, logs.output)

        port = self.server.port
        await fails(f"ws://127.0.0.1:{port}/sink", "not_found", "/sync")
        await fails(f"wss://127.0.0.1:{port}/sync", "bad_certificate", "TLS")
        await fails(f"ws://127.0.0.1:{free_port()}/sync", "offline", "nobody listens")

    async def test_a_question_that_cannot_be_asked_says_why(self) -> None:
        client = starling.connect(f"ws://127.0.0.1:{self.server.port}/sink")
        with self.assertRaises(starling.StarlingError) as caught:
            await client.fetch("k")
        self.assertEqual(caught.exception.code, "not_found")
        await client.close(timeout=0)
