"""An agent that works off the tasks of a swarm. Start several, and kill some: each task is done, and completed once.

    python worker.py --name ada &
    python worker.py --name bob &
    python worker.py --add 1 2 3
"""

import argparse
import asyncio
import secrets

import starling


async def add(task: starling.Task) -> dict[str, object]:
    await asyncio.sleep(0.1)  # Hard work.
    print(f"did {task.id}: {sum(task.input)}", flush=True)
    return {"by": task.row["agent_id"], "sum": sum(task.input)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:7827/sync")
    parser.add_argument("--name", default=f"worker-{secrets.token_hex(2)}")
    parser.add_argument("--swarm", default="sums")
    parser.add_argument("--token", help="its credentials, where the server wants some")
    parser.add_argument("--add", nargs="+", type=int, metavar="NUMBER", help="add a task to sum these, and print the result")
    options = parser.parse_args()
    async with starling.connect(options.url, agent=options.name, token=options.token) as client:
        swarm = starling.Swarm(client, options.swarm)
        if options.add is None:
            await swarm.work(add, lease=5)
        await swarm.init()
        [task] = await swarm.submit([{"input": options.add}])
        async for result in client.subscribe(f"swarm:{options.swarm}:task:{task}:result"):
            print(f"{result.value['sum']}, says {result.value['by']}")
            return


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
