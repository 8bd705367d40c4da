#!/usr/bin/env python3
"""What the clients of the official Python SDK see of `/mcp`: in each of its modes, over HTTP and standard input and output, with and without a token,
the same. Then `mcpcheck`, a checker by somebody else.

STARLING_BINARY names the server. Needs the packages `mcp` and `jbt-mcpcheck`: `make test-mcp` has them.
"""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import warnings
import tempfile
from pathlib import Path

import httpx2
import mcp
import mcp.types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation

warnings.filterwarnings("ignore", category=mcp.MCPDeprecationWarning)

BINARY = os.environ["STARLING_BINARY"]
MODES = ["auto", "legacy", "2026-07-28"]
AGENT = {"agent": "alice"}


@contextlib.contextmanager
def server(*arguments: str):
    """A server on a free port; its port."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [BINARY, "serve", "--port", "0", "--data", f"{folder}/a.db", *arguments],
            stdout=subprocess.PIPE, text=True)
        try:
            yield re.search(r":(\d+)/sync", process.stdout.readline()).group(1)
        finally:
            process.terminate()
            process.wait(timeout=20)
            process.stdout.close()


def transport(kind: str, port: str, token: str | None):
    if kind == "stdio":
        environment = {"STARLING_TOKEN": token} if token else {}
        return StdioServerParameters(
            command=BINARY, args=["mcp", "--url", f"ws://127.0.0.1:{port}/sync"], env=environment)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    client = httpx2.AsyncClient(headers=headers, timeout=60)
    return streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=client)


class Session:
    """One client, and what it was answered."""

    def __init__(self, client: Client, updates: list[str]):
        self.client, self.updates, self.seen = client, updates, []

    async def call(self, tool: str, **arguments):
        result = await self.client.call_tool(tool, arguments)
        text = json.loads(result.content[0].text)
        if not result.is_error:
            assert result.structured_content == text, f"{tool}: text and structured content differ"
        self.seen.append((tool, result.is_error, text))
        return text

    async def refused(self, what: str, work):
        try:
            await work
        except MCPError as error:
            self.seen.append((what, str(error)))
        else:
            raise AssertionError(f"{what} was not refused")

    async def lists(self):
        client = self.client
        self.seen.append([tool.name for tool in (await client.list_tools()).tools])
        self.seen.append([prompt.name for prompt in (await client.list_prompts()).prompts])
        templates = (await client.list_resource_templates()).resource_templates
        self.seen.append([template.uri_template for template in templates])

    async def memory(self):
        await self.call("memory_store", key="k", value={"x": 1}, tags=["t"], **AGENT)
        await self.call("memory_get", key="k", **AGENT)
        await self.call("memory_list", **AGENT)
        await self.call("knowledge_add", topic="sky", content="it is blue")
        await self.call("search", query="blue")
        await self.call("memory_get")
        await self.call("memory_delete", key="k", **AGENT)
        prompt = await self.client.get_prompt("recall", {"topic": "blue"})
        self.seen.append(prompt.messages[0].content.text)

    async def tasks(self):
        swarm = {"swarm": "s"}
        await self.call("swarm_init", topology="mesh", **swarm)
        await self.call("swarm_join", **swarm, **AGENT)
        await self.call("task_submit", tasks=[{"id": "t1", "input": "do"}, {"id": "t2", "dependencies": ["t1"]}], **swarm)
        task = await self.call("task_next", wait=2, **swarm, **AGENT)
        held = {"task": "t1", "fence": task["fence"], **swarm, **AGENT}
        await self.call("task_update", do="progress", note="half", **held)
        await self.call("task_complete", result=7, **held)
        await self.call("task_complete", result=7, **held)
        task = await self.call("task_next", **swarm, **AGENT)
        await self.call("task_fail", task="t2", fence=task["fence"], error="no", **swarm, **AGENT)
        await self.call("task_next", wait=1, **swarm, **AGENT)
        await self.call("task_list", **swarm)
        await self.call("swarm_status", **swarm)
        await self.call("message_send", to="alice", body="hi", **swarm, **AGENT)
        await self.call("message_inbox", **swarm, **AGENT)

    async def keys(self):
        await self.call("key_write", key="task:9:x", value=1)
        await self.call("key_read", pattern="task:9:*")
        claim = await self.call("claim", key="lock", do="claim", ttl=20, **AGENT)
        await self.call("key_write", key="lock", value=2)
        await self.call("claim", key="lock", do="release", fence=claim["fence"], **AGENT)

    async def resources(self):
        client = self.client
        for uri in ["starling://keys/task:9:x", "starling://patterns/task:9:*", "starling://swarms/s/tasks/t1"]:
            self.seen.append((uri, (await client.read_resource(uri)).contents[0].text))
        self.seen.append(sorted(
            str(resource.uri) for resource in (await client.list_resources()).resources if "inbox" not in str(resource.uri)))
        reference = types.ResourceTemplateReference(type="ref/resource", uri="starling://keys/{+key}")
        completion = await client.complete(reference, {"name": "key", "value": "task:9"})
        self.seen.append(completion.completion.values)
        await self.refused("a key that there is not", client.read_resource("starling://keys/none"))
        await self.refused("a tool that there is not", client.call_tool("nope", {}))

    async def updates_come(self):
        uri = "starling://keys/live:*"
        if str(self.client.protocol_version) >= "2026":
            async with self.client.listen(resource_subscriptions=[uri]) as events:
                await self.call("key_write", key="live:1", value=1)
                async for event in events:
                    self.updates.append(str(event.uri))
                    break
        else:
            await self.client.subscribe_resource(uri)
            await self.call("key_write", key="live:1", value=1)
            async with asyncio.timeout(20):
                while not self.updates:
                    await asyncio.sleep(0.01)
        self.seen.append(sorted(set(self.updates)))


async def play(where, mode: str) -> list:
    updates: list[str] = []

    async def handler(message):
        message = getattr(message, "root", message)
        if isinstance(message, types.ResourceUpdatedNotification):
            updates.append(str(message.params.uri))

    who = Implementation(name="sdk", version="1")
    async with Client(where, mode=mode, client_info=who, message_handler=handler, read_timeout_seconds=30) as client:
        session = Session(client, updates)
        for part in [session.lists, session.memory, session.tasks, session.keys, session.resources, session.updates_come]:
            await part()
        expected = "2025-11-25" if mode == "legacy" else "2026-07-28"
        assert client.protocol_version == expected, client.protocol_version
        return session.seen


def normal(seen: list) -> list[str]:
    """Without times, versions and the names that a session is given."""
    lines = []
    for entry in seen:
        line = json.dumps(entry)
        line = re.sub(r"[0-9a-f]{12}-[0-9a-f]{4}-[0-9A-Za-z_-]+", "<version>", line)
        line = re.sub(r"\b1[0-9]{9}([0-9]{3})?\b", "<time>", line)
        line = re.sub(r'"revision\W+\d+', '"revision": <n>', line)
        line = re.sub(r'(\\*"score\\*": ?)[0-9.e-]+', r"\1<n>", line)
        line = re.sub(r'(\\*"agent\\*": ?\\*")sdk[^"\\]*', r"\1<name>", line)
        lines.append(line)
    return lines


def compare() -> None:
    with tempfile.TemporaryDirectory() as folder:
        access = f"{folder}/access.json"
        token = subprocess.run(
            [BINARY, "token", "create", "all", "--read", "**", "--write", "**", "--access", access],
            capture_output=True, text=True, check=True).stdout.split()[-1]
        first = None
        for secret in [None, token]:
            for kind in ["http", "stdio"]:
                for mode in MODES:
                    with server(*(["--access", access] if secret else [])) as port:
                        seen = normal(asyncio.run(play(transport(kind, port, secret), mode)))
                    name = f"{mode} over {kind}{' with a token' if secret else ''}"
                    first = first or seen
                    for one, other in zip(first, seen, strict=True):
                        assert one == other, f"{name}:\n  {other}\nin place of\n  {one}"
                    print(f"  {name}: {len(seen)} answers")


def check() -> None:
    with server() as port:
        subprocess.run(
            [Path(sys.executable).parent / "mcpcheck", "--probe", "all", "--legacy-probes", "--strict",
             f"http://127.0.0.1:{port}/mcp"], check=True)


if __name__ == "__main__":
    compare()
    check()
