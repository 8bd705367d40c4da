from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import starling
from starling.sync import connect as connect_and_wait

from .support import HAS_SERVER, Server, until

logging.getLogger("starling").setLevel(logging.CRITICAL)


@unittest.skipUnless(HAS_SERVER, "no server is built")
class ServerTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.clients: list[starling.Client] = []

    async def asyncTearDown(self) -> None:
        for client in self.clients:
            await client.close()

    def open(self, urls: str | list[str] | None = None, **options: Any) -> starling.Client:
        client = starling.connect(urls or self.server.url, **options)
        self.clients.append(client)
        return client

    async def test_five_lines_of_the_readme(self) -> None:
        updates: list[starling.Update] = []
        async with starling.connect(self.server.url, agent="planner") as sync:
            unsubscribe = sync.subscribe("task:*", updates.append)
            outcome = await sync.broadcast("task:42:status", {"state": "done"})
            self.assertTrue(outcome.applied and outcome.durable)
            self.assertEqual(sync.get("task:42:status"), {"state": "done"})
            await until(lambda: updates, "it is told")
            self.assertEqual([update.agent for update in updates], ["planner"])
            unsubscribe()
            await sync.broadcast("task:42:status", None)
        self.assertEqual(len(updates), 1)

    async def test_what_cannot_be_is_said(self) -> None:
        sync = self.open()

        def code(work: Any) -> str:
            with self.assertRaises(starling.StarlingError) as caught:
                work()
            return caught.exception.code

        for value in (object(), float("nan"), "\ud800"):
            self.assertEqual(code(lambda value=value: sync.broadcast("x", value)), "bad_value")
        self.assertEqual(code(lambda: sync.broadcast("", 1)), "bad_key")
        self.assertEqual(code(lambda: sync.subscribe("***")), "bad_pattern")
        await sync.live()
        with self.assertRaises(starling.StarlingError) as caught:
            await sync.claim("lock", value=object())
        self.assertEqual(caught.exception.code, "bad_value")
        self.assertEqual(code(lambda: starling.connect("http://localhost")), "bad_url")
        with self.assertRaisesRegex(starling.StarlingError, "600 bytes"):
            await sync.broadcast("k" * 600, 1)
        other = self.open()

        async def close(_: starling.Update) -> None:
            await other.close()

        other.subscribe("x", close)
        await other.live()
        await sync.broadcast("x", 1)
        await until(lambda: other.state == "closed", "it is closed from within a callback")
        self.assertEqual(code(lambda: other.broadcast("x", 1)), "closed")
        self.assertEqual(code(lambda: other.subscribe("x")), "closed")

    async def test_two_clients(self) -> None:
        a, b = self.open(agent="a", session="run-1"), self.open(agent="b")
        seen = b.subscribe("x:*")
        await seen.synced
        await a.broadcast("x:1", "ä😀\u2028", metadata={"why": ["test"]}, ttl=60)
        await a.delete("x:1")
        await a.broadcast("x:2", [1.5, None, {"": False}])
        told = []
        with seen:
            async for update in seen:
                told.append(update)
                if len(told) == 3:
                    break
        self.assertEqual([update.value for update in told], ["ä😀\u2028", None, [1.5, None, {"": False}]])
        self.assertEqual([update.deleted for update in told], [False, True, False])
        self.assertEqual((told[0].metadata, told[0].session), ({"why": ["test"]}, "run-1"))
        self.assertIsNone(b.get("x:2"), "leaving the block ends the subscription")

    async def test_reading_conditions_and_claims(self) -> None:
        a, b = self.open(agent="a"), self.open(agent="b")
        await asyncio.gather(a.live(), b.live())
        for index in range(25):
            a.broadcast(f"n:{index}", index)
        await a.drained()
        self.assertEqual(len([update async for update in b.fetch_all("n:*", page_size=10)]), 25)
        fetched = await b.fetch("n:7")
        self.assertEqual(fetched and fetched.value, 7)
        self.assertIsNone(await b.fetch("n:none"))

        self.assertTrue((await a.broadcast("once", 1, expect=None)).applied)
        second = await b.broadcast("once", 2, expect=None)
        self.assertEqual((second.status, (second.current or {})["value"]), ("condition", 1))

        async with await a.claim("lock", ttl=1) as lease:
            with self.assertRaises(starling.StarlingError) as caught:
                await b.claim("lock")
            self.assertEqual(caught.exception.code, "held")
            first = lease.expires_at
            await until(lambda: lease.expires_at > first, "it is renewed")
            fence = {"key": "lock", "token": lease.fence}
            self.assertTrue((await a.broadcast("work", 1, fence=fence)).applied)
        self.assertIsNone(await lease.ended)
        with self.assertRaises(starling.StarlingError) as caught:
            await a.broadcast("work", 2, fence=fence)
        self.assertEqual(caught.exception.code, "stale_fence")
        following = await b.claim("lock", until="disconnect")
        self.assertGreater(following.fence, lease.fence)
        await b.close()
        self.assertIsNone(await following.ended)
        # Released: nobody has to wait for its time to be over.
        await (await a.claim("lock")).release()

    async def test_presence(self) -> None:
        watcher, agent = self.open(agent="watcher"), self.open(agent="agent")
        watcher.subscribe("here:*")
        agent.presence("here:agent", {"since": 1})
        await until(lambda: watcher.get("here:agent"), "it is seen")
        self.server.kill()
        self.server.run()
        await until(lambda: watcher.state == "live" and watcher.get("here:agent"), "it is seen again")
        await agent.close()
        await until(lambda: watcher.get("here:agent") is None, "it is gone")

    async def test_slow_callback(self) -> None:
        reader, writer = self.open(), self.open(agent="w")
        gate = asyncio.Event()
        told: dict[str, int] = {}
        count = 0

        async def slow(update: starling.Update) -> None:
            nonlocal count
            count += 1
            self.assertGreaterEqual(update.value, told.get(update.key, 0))
            told[update.key] = update.value
            if count == 1:
                await gate.wait()

        await reader.subscribe("k:*", slow).synced
        for turn in range(400):
            for key in range(10):
                writer.broadcast(f"k:{key}", turn)
            await writer.drained()
        await until(lambda: reader.get("k:9") == 399, "the replica has all")
        gate.set()
        await until(lambda: len(told) == 10 and set(told.values()) == {399}, "the latest are told")
        self.assertLess(count, 1500)

    async def test_offline_writes_of_a_killed_process(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "outbox")
            self.server.kill()
            script = Path(__file__).with_name("offline_writer.py")
            command = [sys.executable, str(script), self.server.url, path]
            environment = {**os.environ, "PYTHONPATH": str(script.parents[1])}
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
                assert process.stdout
                self.assertEqual(process.stdout.readline(), b"written\n")
                process.kill()
            self.server.run()
            client = self.open(outbox=starling.FileOutbox(path), agent="other")
            waiting = client.pending_writes()
            self.assertEqual(len(waiting), 1000)
            outcomes = await asyncio.gather(*(outcome for _, outcome in waiting))
            self.assertTrue(all(outcome.applied for outcome in outcomes))
            self.assertEqual(len({outcome.revision for outcome in outcomes}), 1000, "none was made twice")
            stored = [update async for update in client.fetch_all("offline:*")]
            self.assertEqual(len(stored), 1000)
            self.assertTrue(all(f"offline:{each.value}" == each.key and each.agent == "killed" for each in stored))
            await client.close()
            left = starling.FileOutbox(path)
            self.addCleanup(left.close)
            self.assertEqual(left.load(), [], "nothing is left in the outbox")

    async def test_failover(self) -> None:
        other = Server()
        self.addCleanup(other.stop)
        # What a link between the two would do: the same registers, with the same versions, in both.
        feed = [self.open(self.server.url, agent="feed"), self.open(other.url, agent="feed")]
        await asyncio.gather(*(client.live() for client in feed))

        def version(index: int) -> str:
            return f"018bcfe56800-{index:04x}-source"

        for index in range(50):
            await asyncio.gather(*(client.broadcast(f"k:{index % 10}", index, version=version(index)) for client in feed))
        told: dict[str | None, int] = {}

        def count(update: starling.Update) -> None:
            told[update.version] = told.get(update.version, 0) + 1

        client = self.open([self.server.url, other.url], probe_interval=0.2)
        client.subscribe("k:*", count)
        await client.live()
        self.assertEqual(client.edge, self.server.url)
        await until(lambda: all(edge.round_trip is not None for edge in client.edges), "both are measured")
        stopped_at = time.monotonic()
        self.server.kill()
        await until(lambda: client.state == "live" and client.edge == other.url, "the other is used")
        self.assertLess(time.monotonic() - stopped_at, 2)
        for index in range(50, 100):
            await feed[1].broadcast(f"k:{index % 10}", index, version=version(index))
        await until(lambda: version(99) in told, "updates come")
        self.assertEqual(set(told.values()), {1})
        self.assertEqual({version(index) for index in range(40, 100)} - told.keys(), set())

    def test_without_async(self) -> None:
        with connect_and_wait(self.server.url, agent="script") as sync:
            sync.live(timeout=10)
            seen: list[starling.Update] = []
            unsubscribe = sync.subscribe("t:*", seen.append)
            outcome = sync.broadcast("t:1", {"a": 1})
            self.assertTrue(outcome and outcome.applied)
            self.assertEqual(sync.get("t:1"), {"a": 1})
            sync.broadcast("t:2", 2, wait=False)
            sync.drained(timeout=10)
            self.assertEqual([update.key for update in sync.list("t:*")], ["t:1", "t:2"])
            with sync.claim("lock", ttl=5) as lease:
                self.assertTrue(lease.is_held)
            self.assertFalse(lease.is_held)
            self.assertEqual([update.key for update in sync.fetch_all("t:*")], ["t:1", "t:2"])
            unsubscribe()
        self.assertEqual([update.key for update in seen], ["t:1", "t:2"])
        with self.assertRaises(starling.StarlingError):
            sync.get("t:1")
        sync.close()


if __name__ == "__main__":
    unittest.main()
