"""What the READMEs show is run as it stands there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import secrets
import textwrap
import unittest
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import starling

from .support import HAS_SERVER, ROOT, Server

_FILES = ("clients/python/README.md", "README.md")
_URL = "ws://127.0.0.1:7827/sync"


def blocks(file: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", Path(ROOT / file).read_text(encoding="utf-8"), re.M | re.S)


def runnable(code: str, url: str) -> str:
    """A block as the body of an async function. An ellipsis stands for something of the reader's, who leaves the loop some day."""
    code = re.sub(r"^( *async for .*:) \.\.\.$", r"\1 break", code.replace(_URL, url), flags=re.M)
    return "async def block():\n" + textwrap.indent(code, "    ")


@unittest.skipUnless(HAS_SERVER, "no server is built")
class ReadmeTests(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)

    async def test_every_block_runs(self) -> None:
        for file in _FILES:
            found = blocks(file)
            self.assertTrue(found, file)
            for number, code in enumerate(found, 1):
                with self.subTest(file=file, block=number), contextlib.redirect_stdout(io.StringIO()):
                    async with asyncio.timeout(30):
                        await self._run(code)

    async def _run(self, code: str) -> None:
        names: dict[str, Any] = {"starling": starling, "secrets": secrets, "os": os}
        async with starling.connect(self.server.url) as sync:
            # Something to wait for.
            await sync.broadcast("task:42:status", {"state": "done"})
            if "connect(" not in code:
                names["sync"] = sync
            exec(runnable(code, self.server.url), names)
            if "from starling.sync" in code:
                # It waits, and so has a thread of its own.
                await asyncio.to_thread(asyncio.run, names["block"]())
            elif ".work(" in code:
                await self._employ(sync, names["block"])
            else:
                await names["block"]()

    async def _employ(self, sync: starling.Client, block: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Gives the worker that a block is a task, and has it done: a worker goes on until it is cancelled."""
        swarm = starling.Swarm(sync, "demo")
        await swarm.init()
        [task] = await swarm.submit([{"input": "text"}])
        results = sync.subscribe(f"swarm:demo:task:{task}:result")
        worker = asyncio.create_task(block())
        async for update in results:
            self.assertEqual(update.value, 4)
            break
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker


if __name__ == "__main__":
    unittest.main()
