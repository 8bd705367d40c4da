"""What the tests share."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SERVER = Path(os.environ.get("STARLING_BINARY", ROOT / ".build/debug/starling"))


# Who names a server wants it to be there.
HAS_SERVER = "STARLING_BINARY" in os.environ or SERVER.exists()


def vectors(name: str) -> Any:
    """The shared vectors of protocol/vectors."""
    return json.loads((ROOT / "protocol/vectors" / f"{name}.json").read_text(encoding="utf-8"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Server:
    """A real server on a fresh database, which can be killed and started again on the same port."""

    def __init__(self, *, wants_token: bool = False) -> None:
        self.folder = tempfile.mkdtemp(prefix="starling-")
        self.options: list[str] = []
        self.token = ""
        if wants_token:
            access = f"{self.folder}/access.json"
            create = [str(SERVER), "token", "create", "all", "--access", access, "--read", "*", "--write", "*"]
            self.token = subprocess.run(create, check=True, capture_output=True, text=True).stdout.split()[0]
            self.options = ["--access", access]
        self.port = free_port()
        self.run()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/sync"

    def run(self) -> None:
        command = [str(SERVER), "serve", "--port", str(self.port), "--data", f"{self.folder}/data.db", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout
        output = ""
        while "ready" not in output:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server ended: {output}")
            output += line

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)


async def until(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    """Waits until a condition holds, looking at it again whenever the event loop has turned."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited in vain: {what}")
        await asyncio.sleep(0.005)
