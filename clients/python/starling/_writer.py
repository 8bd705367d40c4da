"""The client's own writes: stamping, sending, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._clock import Clock, format_version, parse_version
from ._errors import StarlingError
from ._outbox import Outbox, OutboxStore, Outcome, Write
from ._register import Register, raw_field

if TYPE_CHECKING:
    from ._engine import Engine

_WINDOW = 256
_LONGEST_PAUSE = 5_000
#: Refusals after which the same write may succeed.
_PASSING = {"overloaded", "storage_failed", "outcome_unknown", "rate_limited"}


class Writer:
    """The client's own writes: stamps them, keeps them until they are answered, sends them as the connection allows, and says
    what became of each."""

    def __init__(
        self,
        engine: Engine,
        store: OutboxStore,
        limit: int,
        on_refused: Callable[[dict[str, Any], StarlingError], str],
    ) -> None:
        self.clock = Clock()
        self.outbox = Outbox(store)
        self._engine = engine
        self._limit = limit
        self._on_refused = on_refused
        self._pauses = 0
        #: When writes may be sent again, after the server asked for a pause.
        self.paused_until: float = 0

    def restore(self, records: list[dict[str, Any]]) -> None:
        """Takes over what an earlier run left."""
        for record in sorted(records, key=lambda record: str(record["version"])):
            milliseconds, counter, _ = parse_version(record["version"])
            self.clock.receive(milliseconds, counter)
            self.outbox.add(record, stored=True)

    def _stamp(self) -> str:
        return format_version(*self.clock.tick(self._engine.server_now()), self._engine.agent)

    def write(self, key: str, **fields: Any) -> asyncio.Future[Outcome]:
        """Makes a write, seen by this client's subscribers at once.

        :raises StarlingError: ``outbox_full``
        """
        if len(self.outbox) >= self._limit:
            raise StarlingError(
                "outbox_full", f"{len(self.outbox)} writes wait for the server; the limit is {self._limit} (outbox_limit)"
            )
        record = {"key": key, "version": self._stamp()}
        record.update((name, value) for name, value in fields.items() if value is not None)
        write = self.outbox.add(record)
        self._engine.touch(key)
        self.flush()
        return write.outcome

    def flush(self) -> None:
        """Sends what may be sent now."""
        if not self._engine.is_greeted or self._engine.now() < self.paused_until:
            return
        while self.outbox.in_flight < _WINDOW:
            write = self.outbox.take()
            if write is None:
                return
            self._engine.send(_frame(write))

    def answer(self, id: int, message: dict[str, Any], text: str) -> bool:
        """The answer to a write.

        :return: whether the id is one of ours
        """
        write = self.outbox.find(id)
        if write is None:
            return False
        if message["type"] == "error":
            self._refused(write, message)
        elif message["applied"]:
            self._applied(write, message)
        else:
            self._superseded(write, message, text)
        self.flush()
        return True

    def _finish(self, write: Write) -> None:
        self._pauses = 0
        self.outbox.finish(write)

    def _applied(self, write: Write, message: dict[str, Any]) -> None:
        self._finish(write)
        register = write.register
        register.revision = message.get("revision")
        # It is in the database now, and the replica need not wait for the echo.
        self._engine.confirm(register)
        write.resolve(Outcome("applied", register.key, message.get("version"), register.revision, message.get("durable", False)))

    def _superseded(self, write: Write, message: dict[str, Any], text: str) -> None:
        self._finish(write)
        key, winner = write.record["key"], message.get("winner")
        if winner and not winner.get("value_omitted"):
            self._engine.confirm(Register(key, winner, raw_field(text, "winner") or "{}"))
        else:
            self._engine.touch(key)
        write.resolve(Outcome("superseded", key, message.get("version"), winner=winner))

    def _refused(self, write: Write, message: dict[str, Any]) -> None:
        code = message.get("code", "")
        if code in _PASSING:
            self.paused_until = self._engine.now() + message.get("retry_after_ms", 0) + self._pause()
            self.outbox.put_back(write)
            return
        error = StarlingError(code, message.get("message", code), message)
        choice = self._on_refused(write.record, error)
        if code == "drift" and "server_time" in message:
            self._engine.adjust_clock(message["server_time"])
        if choice == "restamp" and code in ("drift", "stale_version"):
            self.outbox.restamp(write, self._stamp())
            self._engine.touch(write.record["key"])
        else:
            self._give_up(write, error)

    def _pause(self) -> float:
        self._pauses = min(self._pauses + 1, 10)
        return self._engine.random() * min(_LONGEST_PAUSE, 100.0 * (1 << (self._pauses - 1)))

    def _give_up(self, write: Write, error: StarlingError) -> None:
        key = write.record["key"]
        self._finish(write)
        self._engine.log("warning", f"the write to {key} was refused: {error}")
        self._engine.touch(key, "refused")
        write.reject(error)

    def disconnected(self) -> None:
        self.outbox.disconnected()
        self.paused_until = 0

    def renamed(self, old: str, new: str) -> None:
        """What was written before the server said which agent we are, and was never sent, gets the right name. It is not known to
        anyone else yet."""
        for write in self.outbox:
            milliseconds, counter, agent = parse_version(write.record["version"])
            if agent == old:
                self.outbox.restamp(write, format_version(milliseconds, counter, new))
                self._engine.touch(write.record["key"])


def _frame(write: Write) -> str:
    """The message for a write, around the texts of JSON that the outbox holds."""
    record = write.record
    kind = "delete" if "value" not in record else "broadcast"
    parts = [f'{{"type":"{kind}","id":{write.id},"key":{json.dumps(record["key"])}']
    parts.append(f'"version":{json.dumps(record["version"])}')
    for name in ("value", "ttl", "metadata"):
        if name in record:
            parts.append(f'"{name}":{record[name]}')
    if "session" in record:
        parts.append(f'"session":{json.dumps(record["session"])}')
    return ",".join(parts) + "}"
