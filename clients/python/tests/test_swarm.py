"""Agents of a swarm, against a real server."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
import unittest
from typing import Any

import starling

from .support import HAS_SERVER, ROOT, Server, until

logging.getLogger("starling").setLevel(logging.CRITICAL)


@unittest.skipUnless(HAS_SERVER, "no server is built")
class SwarmTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.clients: list[starling.Client] = []
        self.loops: list[asyncio.Task[None]] = []

    async def asyncTearDown(self) -> None:
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        for client in self.clients:
            await client.close()

    def open(self, agent: str) -> starling.Swarm:
        client = starling.connect(self.server.url, agent=agent)
        self.clients.append(client)
        return starling.Swarm(client, "s")

    def work(self, agent: str, do: Any, **options: Any) -> None:
        self.loops.append(asyncio.ensure_future(self.open(agent).work(do, **options)))

    async def status(self, swarm: starling.Swarm, task: str) -> Any:
        found = await swarm._client.fetch(f"swarm:s:task:{task}")
        return None if found is None else found.value["status"]

    async def all_over(self, swarm: starling.Swarm, count: int) -> None:
        deadline = time.monotonic() + 60
        done: list[str] = []
        while time.monotonic() < deadline:
            try:
                rows = [row async for row in swarm._client.fetch_all("swarm:s:task:*") if row.key.count(":") == 3]
            except starling.StarlingError:
                rows = []  # The server is away.
            done = [row.key for row in rows if row.value["status"] == "completed"]
            if len(done) == count:
                return
            await asyncio.sleep(0.1)
        self.fail(f"{len(done)} of {count} tasks are completed")

    async def test_tasks_are_done_once_each_in_their_order_also_across_a_restart(self) -> None:
        done: list[str] = []

        async def do(task: starling.Task) -> int:
            await asyncio.sleep(0.02)
            done.append(task.id)
            return len(done)

        swarm = self.open("planner")
        await swarm.init(lease=2)
        for agent in ("ada", "bob", "cyd"):
            self.work(agent, do)
        tasks = [{"id": f"t{n}", "dependencies": [f"t{m}" for m in (n // 2, n // 3) if 0 < m < n]} for n in range(1, 31)]
        self.assertEqual(await swarm.submit(tasks), [f"t{n}" for n in range(1, 31)])
        await until(lambda: len(done) > 5, "some are done")
        self.server.kill()
        self.server.run()
        await self.all_over(swarm, 30)
        # Work is done at least once: what was under way at the restart may have been done again.
        self.assertEqual(set(done), {f"t{n}" for n in range(1, 31)})
        for number in range(2, 31):
            self.assertLess(done.index(f"t{number // 2}"), len(done) - 1 - done[::-1].index(f"t{number}"))

    async def test_failures_are_told_and_tried_again(self) -> None:
        attempts: list[int] = []

        async def do(task: starling.Task) -> str:
            attempts.append(task.row["attempt"])
            if len(attempts) == 1:
                raise RuntimeError("not today")
            await task.progress({"percent": 50})
            return "done"

        swarm = self.open("planner")
        await swarm.init()
        self.work("ada", do)
        await swarm.submit([{"id": "t"}])
        await self.all_over(swarm, 1)
        self.assertEqual(attempts, [1, 2])
        result = await swarm._client.fetch("swarm:s:task:t:result")
        self.assertEqual(result and result.value, "done")

    async def test_a_result_that_is_none_fails_the_task_and_not_the_worker(self) -> None:
        swarm = self.open("planner")
        await swarm.init()

        async def do(task: starling.Task) -> Any:
            return {1, 2} if task.id == "bad" else "good"

        self.work("ada", do)
        await swarm.submit([{"id": "bad", "priority": 1}, {"id": "good"}])
        await self.all_over(swarm, 1)
        self.assertEqual([await self.status(swarm, "bad"), await self.status(swarm, "good")], ["failed", "completed"])
        self.assertEqual([agent["present"] for agent in (await swarm.status())["agents"]], [True])

    async def test_a_task_that_is_lost_is_stopped_and_one_that_is_cancelled_goes_back(self) -> None:
        stopped: list[str] = []
        begun = asyncio.Event()

        async def do(task: starling.Task) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.append(task.id)

        swarm = self.open("planner")
        await swarm.init(lease=1)
        self.work("ada", do)
        await swarm.submit([{"id": "t"}])
        await asyncio.wait_for(begun.wait(), 20)
        await swarm.request("task.cancel", {"task": "t"})
        await until(lambda: stopped, "the work is stopped")
        begun.clear()
        await swarm.submit([{"id": "u"}])
        await asyncio.wait_for(begun.wait(), 20)
        self.loops[0].cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)
        self.assertEqual(stopped, ["t", "u"])
        self.assertEqual(await self.status(swarm, "u"), "ready")

    async def test_messages_stay_until_they_are_acknowledged(self) -> None:
        swarm, other = self.open("planner"), self.open("ada")
        await swarm.init()
        for each in (swarm, other):
            await each.join()
        key = await swarm.send("ada", {"do": "this"}, kind="note")
        self.assertEqual((await other.request("message.ack", {"keys": [key]}))["count"], 1)
        self.assertIn("swarm:s:board:", await swarm.send(None, "to all"))
        agents = (await swarm.status())["agents"]
        self.assertEqual([(agent["agent_id"], agent["present"]) for agent in agents], [("ada", True), ("planner", True)])

    async def test_the_example(self) -> None:
        command = [sys.executable, str(ROOT / "clients/python/examples/worker.py"), "--url", self.server.url]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python")}
        workers = [subprocess.Popen([*command, "--name", name], env=environment, stdout=subprocess.DEVNULL) for name in ("ada", "bob")]
        try:
            workers[0].kill()
            adding = await asyncio.create_subprocess_exec(*command, "--add", "1", "2", "3", env=environment, stdout=subprocess.PIPE)
            try:
                output, _ = await asyncio.wait_for(adding.communicate(), 30)
            finally:
                if adding.returncode is None:
                    adding.kill()
            self.assertRegex(output.decode(), "^6, says (ada|bob)")
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
