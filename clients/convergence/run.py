"""Fifteen clients in three languages, cut off at random, and a server that is killed: all end with the same registers.

SEED draws the events (else a new one, which is printed); ROUNDS is how many there are; STARLING_BINARY and DRIVER name the binaries.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "clients/python"))

import starling  # noqa: E402
from tests.support import Server  # noqa: E402

SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
ROUNDS = int(os.environ.get("ROUNDS", 60))
CLIENTS = 5
KEYS = 12


class Proxy:
    """Stands between one client and the server, and cuts them off when it is told to."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self.refuses = False

    async def start(self) -> str:
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}/sync"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._server.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer), return_exceptions=True)
        self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        finally:
            # What is still to be written is lost with it, as with a cut cable.
            writer.transport.abort()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


def node_flags() -> list[str]:
    """Node 22 has a WebSocket, 20 has one behind a flag."""
    script = "process.exit(typeof WebSocket === 'undefined' ? 1 : 0)"
    for flags in ([], ["--experimental-websocket", "--no-warnings"]):
        if subprocess.run(["node", *flags, "-e", script], stderr=subprocess.DEVNULL).returncode == 0:
            return flags
    return []


async def start_drivers(urls: dict[str, list[str]], folder: str) -> dict[str, asyncio.subprocess.Process]:
    node = ["node", *node_flags(), str(HERE / "driver.js")]
    commands = {
        "javascript": node,
        "python": [sys.executable, str(HERE / "driver.py")],
        "swift": [os.environ.get("DRIVER", str(ROOT / ".build/debug/convergence-driver"))],
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python")}
    return {
        name: await asyncio.create_subprocess_exec(
            *command, ",".join(urls[name]), folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment, limit=1 << 24
        )
        for name, command in commands.items()
    }


def tell(driver: asyncio.subprocess.Process, event: dict[str, Any]) -> None:
    assert driver.stdin
    driver.stdin.write(json.dumps(event).encode() + b"\n")


async def hear(driver: asyncio.subprocess.Process) -> Any:
    assert driver.stdout
    line = await asyncio.wait_for(driver.stdout.readline(), 60)
    if not line:
        raise SystemExit("a driver ended")
    return json.loads(line)


def play(dice: random.Random, drivers: dict[str, Any], proxies: list[Proxy], server: Server, turn: int) -> int:
    """One round of events. Returns how many writes it made."""
    writes = 0
    for _ in range(dice.randrange(40)):
        name = dice.choice(list(drivers))
        event: dict[str, Any] = {"client": dice.randrange(CLIENTS), "key": f"shared:{dice.randrange(KEYS)}", "value": dice.randrange(1_000)}
        if dice.random() < 0.15:
            event["value"] = None
        elif dice.random() < 0.1:
            event["ttl"] = dice.choice([0.05, 0.4])
        tell(drivers[name], event)
        writes += 1
    for proxy in proxies:
        if dice.random() < 0.1:
            proxy.cut()
        proxy.refuses = dice.random() < 0.3
    if turn in (ROUNDS // 3, 2 * ROUNDS // 3):
        server.kill()
        server.run()
    return writes


async def main() -> None:
    print(f"SEED={SEED} ROUNDS={ROUNDS}", flush=True)
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            await converge(random.Random(SEED), server, folder)
    finally:
        server.stop()


async def converge(dice: random.Random, server: Server, folder: str) -> None:
    proxies: list[Proxy] = []
    urls: dict[str, list[str]] = {}
    for name in ("javascript", "python", "swift"):
        mine = [Proxy(server) for _ in range(CLIENTS)]
        urls[name] = [await proxy.start() for proxy in mine]
        proxies += mine
    drivers = await start_drivers(urls, folder)
    try:
        written = 0
        for turn in range(ROUNDS):
            written += play(dice, drivers, proxies, server, turn)
            await asyncio.sleep(dice.random() * 0.05)
        for proxy in proxies:
            proxy.refuses = False
        await check(drivers, server, written)
        for name, driver in drivers.items():
            assert driver.stdin
            driver.stdin.close()
            try:
                await asyncio.wait_for(driver.wait(), 20)
            except TimeoutError:
                raise SystemExit(f"the clients in {name} do not close; SEED={SEED}") from None
    finally:
        for driver in drivers.values():
            if driver.returncode is None:
                driver.kill()


async def check(drivers: dict[str, asyncio.subprocess.Process], server: Server, written: int) -> None:
    for driver in drivers.values():
        tell(driver, {"settle": True})
    settled = [await hear(driver) for driver in drivers.values()]
    assert sum(each["count"] for each in settled) == written, "a write has no outcome"
    async with starling.connect(server.url) as reader:
        await reader.live()
        database: list[list[Any]] = []
        replicas: dict[str, list[Any]] = {}

        async def look() -> bool:
            nonlocal database
            database = [[update.key, update.version, update.value] async for update in reader.fetch_all("shared:*")]
            for name, driver in drivers.items():
                tell(driver, {"look": True})
                for index, replica in enumerate(await hear(driver)):
                    replicas[f"{name}-{index}"] = replica
            return all(replica == database for replica in replicas.values())

        for _ in range(200):
            if await look():
                break
            await asyncio.sleep(0.02)
        else:
            for name, replica in replicas.items():
                print(name, "differs by", [each for each in replica + database if (each in replica) != (each in database)])
            raise SystemExit(f"the replicas differ; SEED={SEED}")
        versions = {key: version for key, version, _ in database}
        for key, version in (pair for each in settled for pair in each["applied"]):
            # A key that is not there any more was deleted or has expired since.
            assert version <= versions.get(key, "~"), f"{key}: {version} was acknowledged, and {versions[key]} is there; SEED={SEED}"
    applied = sum(len(each["applied"]) for each in settled)
    print(f"{len(replicas)} replicas and the database hold the same {len(database)} registers; {written} writes, {applied} of them applied")


asyncio.run(main())
