"""What agents remember and know, on a real server."""

from __future__ import annotations

import time
import unittest

import starling
import starling.sync

from .support import HAS_SERVER, Server, until


@unittest.skipUnless(HAS_SERVER, "no server is built")
class MemoryTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.clients: list[starling.Client] = []

    async def asyncTearDown(self) -> None:
        for client in self.clients:
            await client.close()

    def open(self, agent: str) -> starling.Client:
        self.clients.append(starling.connect(self.server.url, agent=agent))
        return self.clients[-1]

    async def test_memories(self) -> None:
        """What one agent stores another finds, with its tags and the time when it was first stored."""
        ada, bob = self.open("ada"), self.open("bob")
        stored = await ada.memory.store("auth/decision", {"text": "tokens end"}, tags=["auth"], ttl=60, metadata={"mine": 1})
        self.assertEqual(stored.status, "applied")
        first = await bob.memory.retrieve("auth/decision", agent="ada")
        assert first is not None and first.created_at is not None
        self.assertEqual((first.value, first.tags, first.metadata), ({"text": "tokens end"}, ["auth"], {"mine": 1}))
        self.assertLess(abs(first.created_at - time.time()), 60)
        await ada.memory.store("auth/decision", 2, ttl=60)
        second = await ada.memory.retrieve("auth/decision")
        assert second is not None
        self.assertEqual((second.value, second.created_at), (2, first.created_at))
        self.assertEqual((await ada.memory.store("auth/decision", 3, expect=first.version)).status, "condition")
        await ada.memory.store("auth/words", "about hooks and pre-edit")
        self.assertEqual([one.name for one in await bob.memory.list("auth/", agent="ada")], ["auth/decision", "auth/words"])
        found = await bob.search("pre-edit", within=["memory"])
        self.assertEqual(([one["name"] for one in found["results"]], found["complete"]), (["auth/words"], True))
        await ada.memory.delete("auth/words")
        self.assertEqual((await bob.search("pre-edit"))["results"], [])
        self.assertIsNone(await bob.memory.retrieve("auth/words", agent="ada"))
        with self.assertRaises(starling.StarlingError):
            ada.memory.store("x", 1, refresh_on_read=True)

    async def test_offline(self) -> None:
        """What is stored without a server is there at once for its own agent, and for all when there is one."""
        ada = self.open("a:b")
        ada.subscribe("memory:*")
        await ada.live()
        self.server.kill()
        await until(lambda: ada.state == "offline", "offline")
        stored = ada.memory.store("x", "written offline", tags=["t"])
        there = await ada.memory.retrieve("x")
        assert there is not None
        self.assertEqual((there.tags, there.created_at), (["t"], None))
        self.server.run()
        self.assertEqual((await stored).status, "applied")
        found = await self.open("bob").memory.retrieve("x", agent="a:b")
        assert found is not None and found.created_at is not None
        await until(lambda: (ada.entry("memory:a%3Ab:x").metadata or {})["starling"]["created_at"] == found.created_at, "the time")  # type: ignore[union-attr]

    async def test_knowledge(self) -> None:
        """The same knowledge is one, and is counted where it is found."""
        ada, bob = self.open("ada"), self.open("bob")
        name = await ada.knowledge.add("Merge", "the greater register wins", tags=["crdt"], confidence=0.5)
        self.assertEqual(await bob.knowledge.add("merge", "the greater register wins", confidence=0.9), name)
        self.assertEqual((await ada.search("greater"))["results"][0]["knowledge"], name)
        known = await ada.knowledge.get(name)
        assert known is not None
        self.assertEqual((known["confidence"], known["usage_count"], known["tags"]), (0.9, 1, ["crdt"]))
        self.assertEqual([one["knowledge"] for one in await ada.knowledge.list(tag="crdt")], [name])
        self.assertIsNone(await ada.knowledge.get("nothing"))


@unittest.skipUnless(HAS_SERVER, "no server is built")
class BlockingMemoryTests(unittest.TestCase):
    def test_blocking(self) -> None:
        """The same without ``async``."""
        server = Server()
        self.addCleanup(server.stop)
        with starling.sync.connect(server.url, agent="ada") as client:
            self.assertEqual(client.memory.store("a", 1, tags=["t"]).status, "applied")
            found = client.memory.retrieve("a")
            assert found is not None
            self.assertEqual((found.value, [one.name for one in client.memory.list()]), (1, ["a"]))
            name = client.knowledge.add("topic", "content")
            self.assertEqual([one["knowledge"] for one in client.knowledge.list(topic="TOPIC")], [name])
            self.assertEqual(len(client.search("content")["results"]), 1)
            self.assertEqual(client.memory.delete("a").status, "applied")
