"""StarlingStore, a store for LangGraph, on a real server."""

from __future__ import annotations

import time
import unittest
from typing import Any

import starling
import starling.sync

from .support import HAS_SERVER, Server, until

try:
    from langgraph.store.base import GetOp, InvalidNamespaceError, PutOp, SearchOp
    from starling.langgraph import StarlingStore

    HAS_LANGGRAPH = True
except ModuleNotFoundError:
    HAS_LANGGRAPH = False


@unittest.skipUnless(HAS_SERVER and HAS_LANGGRAPH, "no server is built, or LangGraph is not installed")
class LangGraphTests(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)

    def open(self, **options: Any) -> StarlingStore:
        client = starling.sync.connect(self.server.url, agent="graph")
        self.addCleanup(client.close)
        return StarlingStore(client, **options)

    def test_items(self) -> None:
        """What is put is got, listed and deleted, under any labels and keys; another process's store sees it."""
        store = self.open()
        namespace = ("users", "a/b%c", "ü:*?\\")
        for key in ("k", "a/b", "100%", "", "x:y"):
            store.put(namespace, key, {"key": key})
            item = store.get(namespace, key)
            assert item is not None
            self.assertEqual((item.value, item.key, item.namespace), ({"key": key}, key, namespace))
            self.assertLess(abs(item.updated_at.timestamp() - time.time()), 60)
        first = store.get(namespace, "k")
        store.put(namespace, "k", {"key": "new"})
        second = self.open().get(namespace, "k")
        assert first is not None and second is not None
        self.assertEqual((second.created_at, second.value), (first.created_at, {"key": "new"}))
        self.assertGreaterEqual(second.updated_at, first.updated_at)
        self.assertEqual(len(store.search(("users",))), 5)
        store.delete(namespace, "k")
        self.assertIsNone(store.get(namespace, "k"))
        self.assertIsNone(store.get(("users",), "nothing"))
        with self.assertRaises(InvalidNamespaceError):
            store.put((), "k", {})
        self.assertIsNone(self.open(agent="other").get(namespace, "a/b"))

    def test_search(self) -> None:
        """By namespace, by what is in the values, by words, page by page."""
        store = self.open()
        for number in range(30):
            store.put(("docs", f"d{number % 3}"), f"k{number:02}", {"n": number, "tags": {"even": number % 2 == 0}, "list": [number]})
        store.put(("doc",), "other", {"n": 3})
        pages = [item.key for offset in range(0, 40, 7) for item in store.search(("docs",), limit=7, offset=offset)]
        self.assertEqual(sorted(pages), [f"k{number:02}" for number in range(30)])
        self.assertEqual([item.value["n"] for item in store.search(("docs",), filter={"n": {"$gte": 3, "$lt": 5}})], [3, 4])
        self.assertEqual(len(store.search(("docs",), filter={"tags": {"even": True}}, limit=100)), 15)
        self.assertEqual([item.key for item in store.search((), filter={"list": [7]})], ["k07"])
        self.assertEqual(store.search(("docs",), filter={"tags": {"$gt": 1}}), [])
        with self.assertRaises(ValueError):
            store.search(("docs",), filter={"n": {"$near": 1}})
        store.put(("notes",), "jwt", {"text": "tokens end after an hour"})
        store.put(("notes",), "sql", {"text": "the database has an index"})
        store.put(("notes",), "hidden", {"text": "tokens of nobody"}, index=False)
        found = store.search(("notes",), query="when do my \"pre-edit tokens NEAR( end?")
        self.assertEqual([item.key for item in found], ["jwt"])
        assert found[0].score is not None and found[0].score > 0
        self.assertEqual(store.search(("docs",), query="tokens"), [])
        self.assertEqual(store.search(("notes",), query="?!"), [])
        self.assertEqual([item.key for item in store.search(("notes",), query="index", filter={"text": "x"})], [])

    def test_namespaces(self) -> None:
        """They are listed by how they begin and end, and cut to a depth."""
        store = self.open()
        namespaces = [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "b", "f"), ("a", "c", "f"), ("b", "a", "f"), ("users", "123")]
        for namespace in namespaces:
            store.put(namespace, "k", {"x": 1})
        self.assertEqual(store.list_namespaces(), sorted(namespaces))
        self.assertEqual(len(store.list_namespaces(prefix=("a", "b"))), 4)
        self.assertEqual(store.list_namespaces(suffix=("f",)), [("a", "b", "f"), ("a", "c", "f"), ("b", "a", "f")])
        self.assertEqual(store.list_namespaces(prefix=("a", "*", "f")), [("a", "b", "f"), ("a", "c", "f")])
        self.assertEqual(store.list_namespaces(prefix=("a", "b"), max_depth=3), [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")])
        self.assertEqual(store.list_namespaces(limit=2, offset=1), sorted(namespaces)[1:3])
        store.delete(("users", "123"), "k")
        self.assertEqual(store.list_namespaces(prefix=("users",)), [])

    def test_batches(self) -> None:
        """What is read in a batch is what was there before; what is put in one is one commit."""
        store = self.open()
        store.put(("n",), "a", {"x": 1})
        results: list[Any] = store.batch([PutOp(("n",), "a", {"x": 2}), GetOp(("n",), "a"), PutOp(("n",), "a", {"x": 3}), SearchOp(("n",)), GetOp(("n",), "b")])
        self.assertEqual((results[0], results[1].value, results[2], len(results[3]), results[4]), (None, {"x": 1}, None, 1, None))
        item = store.get(("n",), "a")
        assert item is not None
        self.assertEqual(item.value, {"x": 3})
        store.batch([PutOp(("m",), str(number), {"x": number}) for number in range(600)])
        self.assertEqual(len(store.search(("m",), limit=1_000)), 600)

    async def test_times_to_live(self) -> None:
        """What is over is gone; what is read lives on, unless it is read without that."""
        store = self.open(ttl={"refresh_on_read": True, "default_ttl": 1.0})
        store.put(("n",), "brief", {"x": 1}, ttl=0.1 / 60)
        await until(lambda: store.get(("n",), "brief", refresh_ttl=False) is None, "it is over")
        self.assertEqual(store.search(("n",)), [])
        await store.aput(("n",), "standard", {"x": 1})
        async with starling.connect(self.server.url) as client:
            found = await client.fetch("memory:langgraph:n/standard")
        assert found is not None and found.expires_at is not None
        self.assertLess(abs(found.expires_at / 1000 - time.time() - 60), 30)

    async def test_async(self) -> None:
        """With an async client it is awaited, and says so where it is not."""
        async with starling.connect(self.server.url, agent="graph") as client:
            store = StarlingStore(client)
            await store.aput(("n",), "k", {"x": 1})
            item = await store.aget(("n",), "k")
            assert item is not None
            self.assertEqual(item.value, {"x": 1})
            self.assertEqual(await store.alist_namespaces(), [("n",)])
            with self.assertRaises(starling.StarlingError):
                store.get(("n",), "k")
