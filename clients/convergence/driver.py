"""Five clients in Python: takes a line of JSON for each event, and prints a line of JSON in the end."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import starling


async def main() -> None:
    urls, folder = sys.argv[1].split(","), sys.argv[2]
    clients = [
        starling.Client(url, agent=f"python-{index}", outbox=starling.FileOutbox(f"{folder}/python-{index}"))
        for index, url in enumerate(urls)
    ]
    for client in clients:
        client.subscribe("shared:*")
    outcomes: list[asyncio.Future[Any]] = []
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        event = json.loads(line)
        if "settle" in event:
            break
        client = clients[event["client"]]
        if event["value"] is None:
            outcomes.append(asyncio.ensure_future(client.delete(event["key"])))
        else:
            outcomes.append(asyncio.ensure_future(client.broadcast(event["key"], event["value"], ttl=event.get("ttl"))))
    settled = [await outcome for outcome in outcomes]
    await asyncio.gather(*(client.live() for client in clients))
    print(json.dumps({"applied": [[each.key, each.version] for each in settled if each.applied], "count": len(settled)}), flush=True)
    while await reader.readline():
        replicas = [[[update.key, update.version, update.value] for update in client.list()] for client in clients]
        print(json.dumps(replicas), flush=True)
    for client in clients:
        await client.close()


asyncio.run(main())
