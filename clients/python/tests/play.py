"""Plays the transcripts of protocol/vectors/clients.json against an engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict
from typing import Any

from starling._engine import Engine
from starling._errors import StarlingError
from starling._leases import Lease
from starling._options import Options
from starling._outbox import Outcome

START = 1_700_000_000_000
WELCOME = {
    "type": "welcome",
    "server": "played",
    "node": "n",
    "epoch": "e",
    "cursor": "e:0",
    "agent": "anon-1",
    "limits": {"drift_ms": 60_000},
}


class Player:
    def __init__(self, transcript: dict[str, Any]) -> None:
        self.urls = transcript.get("urls", ["ws://one/sync"])
        self.session = transcript.get("session")
        self.time: float = START
        # By how much the machine's clock was set ahead.
        self.ahead: float = 0
        self.dials: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.pings = 0
        self.mute = False
        self.names: dict[str, Any] = {}
        self.subscriptions: dict[str, Any] = {}
        self.writes: dict[str, asyncio.Future[Any]] = {}
        self.stored: dict[str, dict[str, Any]] = {}
        self.leases: dict[str, Lease] = {}
        self.begin()

    # The engine's port, and its outbox.

    def dial(self, url: str) -> None:
        self.dials.append(url)

    def send(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "ping":
            self.pings += not self.mute
        elif message["type"] != "hello":
            self.sent.append(message)

    def hang_up(self) -> None: ...
    def probe(self, url: str) -> None: ...
    def wake(self) -> None: ...
    def state_changed(self, state: str) -> None: ...
    def start(self, work: Any) -> None:
        asyncio.ensure_future(work)

    def load(self) -> list[dict[str, Any]]:
        return list(self.stored.values())

    def put(self, record: dict[str, Any]) -> None:
        self.stored[record["version"]] = dict(record)

    def remove(self, version: str) -> None:
        self.stored.pop(version, None)

    def close(self) -> None: ...

    def begin(self) -> None:
        options = Options(
            urls=self.urls,
            agent="me",
            random_agent="",
            session=self.session,
            token=lambda: None,
            outbox=self,
            outbox_limit=1000,
            ping_interval=10_000,
            ping_timeout=5_000,
            probe_interval=30_000,
            refused_delay=5_000,
            on_refused=lambda _, error: "restamp" if error.code == "drift" else "drop",
            now=lambda: self.time,
            wall=lambda: self.time + self.ahead,
            random=lambda: 0.5,
            log=lambda level, message: None,
        )
        self.engine = Engine(options, self)
        self.engine.begin(self.load())

    async def step(self, step: dict[str, Any]) -> None:
        name, argument = next(iter(step.items()))
        result = getattr(self, f"do_{name}")(argument, step)
        if asyncio.iscoroutine(result):
            await result
        # Whoever waited for something goes on, and what waits for that.
        for _ in range(5):
            await asyncio.sleep(0)
        self.answer_pings()

    def answer_pings(self) -> None:
        while self.pings:
            self.pings -= 1
            self.engine.received('{"type":"pong","id":"ping"}')

    # The steps.

    def do_connect(self, fields: dict[str, Any], step: dict[str, Any]) -> None:
        assert self.dials, "the client asks for no connection"
        self.dials.clear()
        welcome = {**WELCOME, "time": self.time, **fields}
        self.engine.received(json.dumps(welcome))
        self.engine.received(json.dumps({**welcome, "agent": step.get("agent", "me")}))

    def do_dials(self, url: str | None, _: Any) -> None:
        dialed = self.dials[-1] if self.dials else None
        assert dialed if url == "$any" else dialed == url, dialed

    def do_drop(self, *_: Any) -> None:
        self.engine.dropped("played")

    def do_user(self, what: str, step: dict[str, Any]) -> None:
        if what == "clock":
            self.ahead = step["ahead"]
        else:
            getattr(self.engine, what)()

    def do_restart(self, *_: Any) -> None:
        self.engine.close()
        self.dials.clear()
        self.begin()

    def do_mute(self, *_: Any) -> None:
        self.mute = True

    def do_advance(self, milliseconds: float, _: Any) -> None:
        end = self.time + milliseconds
        while self.engine.deadline() <= end:
            self.time = max(self.time, self.engine.deadline())
            self.engine.tick()
            self.answer_pings()
        self.time = end

    def do_subscribe(self, pattern: str, step: dict[str, Any]) -> None:
        options = {"snapshot": True, "echo": True, **step.get("options", {})}
        self.subscriptions[step["as"]] = self.engine.subscribe(pattern, None, **options)

    def do_unsubscribe(self, name: str, _: Any) -> None:
        self.engine.unsubscribe(self.subscriptions[name])

    def do_write(self, key: str, step: dict[str, Any]) -> None:
        options = step.get("options")
        if options:
            message = {"type": "broadcast", "key": key, "value": step["value"], **options}
            self.writes[step["as"]] = asyncio.ensure_future(self.engine.request(message))
            return
        value = None if step.get("deleted") else json.dumps(step["value"])
        metadata = json.dumps(step["metadata"]) if "metadata" in step else None
        try:
            self.writes[step["as"]] = self.engine.write(key, value=value, ttl=step.get("ttl"), metadata=metadata)
        except StarlingError as error:
            self.writes[step["as"]] = asyncio.get_running_loop().create_future()
            self.writes[step["as"]].set_exception(error)

    async def do_claim(self, key: str, step: dict[str, Any]) -> None:
        options = step["options"]
        message = {"type": "claim", "key": key, "op": "op", **options}
        claim = self.engine.holds.claim(message, options.get("ttl"), options.get("until"), True)

        async def take() -> None:
            self.leases[step["as"]] = await claim

        self.writes[step["as"]] = asyncio.ensure_future(take())
        await asyncio.sleep(0)

    async def do_renew(self, name: str, step: dict[str, Any]) -> None:
        asyncio.ensure_future(self.quietly(self.leases[name].renew(step["value"])))
        await asyncio.sleep(0)

    async def do_release(self, name: str, _: Any) -> None:
        asyncio.ensure_future(self.quietly(self.leases[name].release()))
        await asyncio.sleep(0)

    @staticmethod
    async def quietly(work: Any) -> None:
        with contextlib.suppress(StarlingError):
            await work

    def do_holds(self, name: str, step: dict[str, Any]) -> None:
        assert self.leases[name].is_held == step["is"]

    async def do_lost(self, name: str, step: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        assert self.leases[name].ended.done() and self.leases[name].ended.result() == step["reason"]

    def do_sends(self, expected: dict[str, Any], _: Any) -> None:
        assert self.sent, "the client sends nothing"
        self.match(expected, self.sent.pop(0), "")

    def do_silent(self, *_: Any) -> None:
        assert not self.sent, self.sent

    def do_receives(self, message: dict[str, Any], _: Any) -> None:
        self.engine.received(json.dumps(self.fill(message)))

    def do_text(self, text: str, _: Any) -> None:
        self.engine.received(text)

    def do_told(self, name: str, step: dict[str, Any]) -> None:
        update = self.subscriptions[name].delivery.take()
        assert update is not None, f"{name} is told nothing"
        self.match(step["update"], asdict(update), "")

    def do_quiet(self, name: str, _: Any) -> None:
        update = self.subscriptions[name].delivery.take()
        assert update is None, update

    def do_failed(self, name: str, step: dict[str, Any]) -> None:
        assert self.subscriptions[name].error.code == step["error"]

    async def do_outcome(self, name: str, step: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        write = self.writes[name]
        if step.get("pending"):
            assert not write.done(), write
            return
        assert write.done(), "there is no outcome"
        if "error" in step:
            error = write.exception()
            assert isinstance(error, StarlingError) and error.code == step["error"], error
            return
        outcome = write.result()
        if not isinstance(outcome, Outcome):
            outcome = Outcome("applied" if outcome["applied"] else outcome["reason"], outcome["key"])
        self.match(step["is"], asdict(outcome), "")

    def do_sees(self, key: str, step: dict[str, Any]) -> None:
        register = self.engine.read(key)
        assert (register.value if register else None) == step["value"], register and register.value

    def do_state(self, state: str, _: Any) -> None:
        assert self.engine.state == state, self.engine.state

    def fill(self, message: Any) -> Any:
        if isinstance(message, str) and message.startswith("$"):
            return self.names[message]
        if isinstance(message, dict):
            return {name: self.fill(value) for name, value in message.items()}
        return [self.fill(item) for item in message] if isinstance(message, list) else message

    def match(self, expected: Any, actual: Any, path: str) -> None:
        if expected == "$any":
            assert actual is not None, path
        elif isinstance(expected, str) and expected.startswith("$"):
            assert self.names.setdefault(expected, actual) == actual, f"{path}: {actual} is not {expected}"
        elif isinstance(expected, dict) and isinstance(actual, dict):
            for name, value in expected.items():
                if name == "$absent":
                    assert not any(absent in actual for absent in value), f"{path}: {actual}"
                else:
                    self.match(value, actual.get(name), f"{path}.{name}")
        else:
            assert expected == actual, f"{path}: {actual!r} is not {expected!r}"
