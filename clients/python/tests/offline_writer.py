"""Writes a thousand keys without a server, and waits to be killed."""

import asyncio
import sys

import starling


async def main() -> None:
    client = starling.Client(sys.argv[1], agent="killed", outbox=starling.FileOutbox(sys.argv[2]))
    for index in range(1000):
        client.broadcast(f"offline:{index}", index)
    print("written", flush=True)
    await asyncio.sleep(60)


asyncio.run(main())
