import asyncio
import platform
import sys
import time

import starling


async def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    value = "x" * 128
    async with starling.connect(url) as writer, starling.connect(url) as reader:
        await asyncio.gather(writer.live(), reader.live())
        start = time.perf_counter()
        for index in range(count):
            writer.broadcast(f"python:{index}", value)
        await writer.drained()
        writing = time.perf_counter() - start

        told = 0
        done = asyncio.Event()

        def tell(_: starling.Update) -> None:
            nonlocal told
            told += 1
            if told == count:
                done.set()

        start = time.perf_counter()
        reader.subscribe("python:*", tell)
        await done.wait()
        reading = time.perf_counter() - start
    print(f"| Python {platform.python_version()} | {count / writing:.0f} | {count / reading:.0f} |")


asyncio.run(main())
