"""An agent that works off tasks: claims one at a time, does it, and writes what came of it. Start several; each task is done once.

    python worker.py --name ada &
    python worker.py --name bob &
    starling pub task:1 '{"sum": [1, 2, 3]}'          # or python worker.py --add 1 2 3

Tasks are registers `task:<id>`, claims `claim:<id>`, results `result:<id>`. Whoever holds the claim of a task does it. A worker that dies loses
its claim, and another one takes the task up. A result carries the claim's fence, so that a worker that was paused for too long and lost its
claim cannot overwrite the one of its successor.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets

import starling

#: What passes: another one has it, or there is no server for the moment.
_PASSING = ("held", "offline", "outcome_unknown", "stale_fence", "timeout", "storage_failed", "overloaded")

_PAUSE = 0.2


async def work_off(sync: starling.Client, name: str) -> None:
    """Does tasks as they come, and those that others leave undone."""
    tasks = sync.subscribe("task:*")
    sync.subscribe("claim:*")
    sync.subscribe("result:*")
    sync.presence(f"worker:{name}", {"working": True})
    await sync.live()
    print(f"{name} is waiting for tasks", flush=True)
    while True:
        undone = [
            task
            for task in tasks.list()
            if is_ours(task) and sync.get(result_of(task.key)) is None and sync.get(claim_of(task.key)) is None
        ]
        for task in undone:
            await try_to_do(sync, name, task)
        if not undone:
            await asyncio.sleep(_PAUSE)


async def try_to_do(sync: starling.Client, name: str, task: starling.Update) -> None:
    try:
        lease = await sync.claim(claim_of(task.key), ttl=5, value={"worker": name})
    except starling.StarlingError as error:
        if error.code not in _PASSING:
            raise
        # Another one was quicker, or there is no server at the moment.
        await asyncio.sleep(_PAUSE)
        return
    try:
        async with lease:
            await do(sync, name, task, lease)
    except starling.StarlingError as error:
        # The server went away, or the claim did: the task is still undone, and its turn comes again.
        if error.code not in _PASSING:
            raise
        print(f"{name} could not finish {task.key}: {error}", flush=True)
        await asyncio.sleep(_PAUSE)


async def do(sync: starling.Client, name: str, task: starling.Update, lease: starling.Lease) -> None:
    # What the replica says may be older than the claim; this is certain.
    if await sync.fetch(result_of(task.key)) is not None:
        return
    result = {"by": name, "sum": sum(task.value["sum"])}
    await asyncio.sleep(0.1)  # Hard work.
    fence = {"key": lease.key, "token": lease.fence}
    await sync.broadcast(result_of(task.key), result, fence=fence)
    print(f"{name} did {task.key}: {result['sum']}", flush=True)


def is_ours(task: starling.Update) -> bool:
    """Whether it is a task as this program makes them: others may use such keys too."""
    numbers = task.value.get("sum") if isinstance(task.value, dict) else None
    return isinstance(numbers, list) and all(isinstance(number, int) for number in numbers)


def claim_of(task: str) -> str:
    return task.replace("task:", "claim:", 1)


def result_of(task: str) -> str:
    return task.replace("task:", "result:", 1)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:7827/sync")
    parser.add_argument("--name", default=f"worker-{secrets.token_hex(2)}")
    parser.add_argument("--add", nargs="+", type=int, metavar="NUMBER", help="add a task to sum these, and print the result")
    options = parser.parse_args()
    async with starling.connect(options.url, agent=options.name) as sync:
        if options.add is None:
            await work_off(sync, options.name)
            return
        task = f"task:{secrets.token_hex(4)}"
        results = sync.subscribe(result_of(task))
        await sync.broadcast(task, {"sum": options.add})
        async for result in results:
            print(f"{result.value['sum']}, says {result.value['by']}")
            return


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
