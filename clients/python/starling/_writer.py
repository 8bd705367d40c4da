"""The client's own writes: stamping, sending, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ._check import MAXIMUM_DEPTH, check_depth, check_time_to_live
from ._clock import agent_of, format_version, parse_version, stamp_of
from ._errors import StarlingError
from ._link import Link
from ._options import Options
from ._outbox import Outbox, Outcome, Write
from ._register import Register, raw_field

_WINDOW = 256
_LONGEST_PAUSE = 5_000
#: By how much a clock may be wrong before what was stamped by it is stamped anew.
_TOLERANCE = 1_000
#: Refusals after which the same write may succeed.
_PASSING = {"overloaded", "storage_failed", "outcome_unknown", "rate_limited"}


class Writer:
    """The client's own writes: stamps them, keeps them until they are answered, sends them as the connection allows, and says what
    became of each."""

    def __init__(self, engine: Link, options: Options) -> None:
        self.clock = engine.knowledge.clock
        self._engine = engine
        self._options = options
        self.outbox = Outbox(options.outbox, lambda error: engine.log("error", f"the outbox cannot be written: {error}"))
        # Pauses in a row that the server asked for.
        self._pauses = 0
        # How many writes may be on their way: less after a refusal, one more after each success.
        self._window = _WINDOW
        #: When writes may be sent again, after the server asked for a pause; 0: now.
        self.paused_until: float = 0

    def restore(self, records: list[dict[str, Any]]) -> None:
        """Takes over what an earlier run left."""
        for record in sorted(records, key=lambda record: (record.get("sequence", 0), str(record.get("version")))):
            try:
                milliseconds, counter, _ = parse_version(record["version"])
                self.clock.rise(milliseconds, counter)
                self.outbox.add(record, stored=True)
            except Exception as error:  # noqa: BLE001: one broken record is no reason to lose the others
                self._engine.log("error", f"the outbox holds a write that is none: {error!r}")

    def _stamp(self) -> str:
        return format_version(*self.clock.tick(self._engine.server_now()), self._engine.agent)

    def write(self, key: str, **fields: Any) -> asyncio.Future[Outcome]:
        """Makes a write, seen by this client's subscribers at once.

        :raises StarlingError: ``outbox_full``, ``outbox_failed``, ``bad_value``
        """
        limit = self._options.outbox_limit
        if len(self.outbox) >= limit:
            text = f"{len(self.outbox)} writes wait for the server; the limit is {limit} (outbox_limit)"
            raise StarlingError("outbox_full", text)
        if fields.get("session") is None:
            fields["session"] = self._options.session
        check_time_to_live(fields.get("ttl"))
        for name in ("value", "metadata"):
            # The message around it is a level too.
            check_depth(name, fields.get(name), MAXIMUM_DEPTH - 1)
        record = {"key": key, "version": self._stamp()}
        record.update((name, value) for name, value in fields.items() if value is not None)
        try:
            write = self.outbox.add(record)
        except Exception as error:  # whatever a store of the user's raises
            raise StarlingError("outbox_failed", f"the outbox cannot keep the write to {key}: {error}") from error
        self._engine.touch(key)
        self.flush()
        return write.outcome

    def flush(self) -> None:
        """Sends what may be sent now: writes in their order, and questions behind the writes that were made before them."""
        if not self._engine.is_greeted:
            return
        self._engine.send_questions(self.outbox.next_sequence())
        if self._engine.now() < self.paused_until:
            return
        self.paused_until = 0
        while self.outbox.in_flight < self._window:
            write = self.outbox.take()
            if write is None:
                return
            text = _frame(write)
            try:
                self._engine.check_size(text, write.record["key"])
            except StarlingError as error:
                self._give_up(write, error)
            else:
                self._engine.send(text, write.id)
            if self._engine.has_questions:
                self._engine.send_questions(self.outbox.next_sequence())

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
        self._window = min(_WINDOW, self._window + 1)
        self.outbox.finish(write)

    def _applied(self, write: Write, message: dict[str, Any]) -> None:
        self._finish(write)
        register = write.register
        register.revision = message.get("revision")
        # It is in the database now, and the replica need not wait for the echo.
        self._engine.confirm(register)
        write.resolve(
            Outcome(
                "applied",
                register.key,
                message.get("version"),
                register.revision,
                message.get("durable", False),
                expires_at=message.get("expires_at"),
            )
        )

    def _superseded(self, write: Write, message: dict[str, Any], text: str) -> None:
        self._finish(write)
        key, winner = write.record["key"], message.get("winner")
        if winner and not winner.get("value_omitted"):
            self._engine.confirm(Register(key, winner, raw_field(text, "winner") or "{}"))
        self._engine.touch(key)
        write.resolve(Outcome("superseded", key, message.get("version"), winner=winner))

    def _refused(self, write: Write, message: dict[str, Any]) -> None:
        code = message.get("code", "")
        if code in _PASSING:
            self._passingly(write, message)
            return
        error = StarlingError(code, message.get("message", code), message)
        # A name that is not ours is that of an earlier run, before the server said which one we have.
        is_misnamed = code == "forbidden" and agent_of(write.record["version"]) != self._engine.agent
        choice = "restamp" if is_misnamed else self._choice(write, error)
        if code == "drift" and "server_time" in message:
            self._engine.knowledge.correct(message["server_time"])
        if choice == "restamp" and (is_misnamed or code in ("drift", "stale_version")):
            self.outbox.restamp(write, self._stamp())
            self._engine.touch(write.record["key"])
        else:
            self._give_up(write, error)

    def _choice(self, write: Write, error: StarlingError) -> str:
        try:
            choice = self._options.on_refused(write.record, error)
        except Exception as problem:  # noqa: BLE001: whatever the user's function raises, the write must not hang
            self._engine.log("error", f"on_refused raised {problem!r}")
            return "drop"
        if choice not in ("restamp", "drop"):
            self._engine.log("error", f'on_refused gave {choice!r}; it gives "restamp" or "drop"')
            return "drop"
        return choice

    def _passingly(self, write: Write, message: dict[str, Any]) -> None:
        """The server will take it later."""
        now = self._engine.now()
        if now >= self.paused_until:
            # What is refused together is one refusal.
            self._window = max(1, self._window // 2)
            self.paused_until = now + self._engine.random() * min(_LONGEST_PAUSE, 100 * (1 << min(self._pauses, 10)))
            self._pauses += 1
        self.paused_until = max(self.paused_until, now + message.get("retry_after_ms", 0))
        self.outbox.put_back(write)

    def _give_up(self, write: Write, error: StarlingError) -> None:
        key = write.record["key"]
        self._finish(write)
        self._engine.log("warning", f"the write to {key} was refused: {error}")
        self._engine.touch(key, "refused")
        write.reject(error)

    def disconnected(self) -> None:
        self.outbox.disconnected()
        self.paused_until = 0

    def renamed(self) -> None:
        """The server says which agent we are: no write of another one would be taken."""
        for write in self.outbox:
            version = write.record["version"]
            if agent_of(version) != self._engine.agent:
                self._restamp_as(write, *stamp_of(version))

    def corrected(self, offset: float) -> None:
        """The first server says that our clock, by which the writes so far were stamped, is wrong by so many milliseconds. None of them
        has been sent: they get the stamps that they would have got by a right clock."""
        if abs(offset) < _TOLERANCE:
            return
        writes = [write for write in self.outbox if write.is_of_this_run]
        self.clock.reset()
        for write in writes:
            milliseconds, _ = stamp_of(write.record["version"])
            self._restamp_as(write, *self.clock.tick(milliseconds + offset))

    def _restamp_as(self, write: Write, milliseconds: int, counter: int) -> None:
        self.outbox.restamp(write, format_version(milliseconds, counter, self._engine.agent))
        self._engine.touch(write.record["key"])

    def close(self) -> None:
        text = "the client was closed; what a durable outbox holds is sent by the next one"
        self.outbox.close(StarlingError("closed", text))


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
