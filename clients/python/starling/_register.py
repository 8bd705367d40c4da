"""Registers, and the rule that merges them."""

from __future__ import annotations

import json
import re
from typing import Any



def _integer(text: str) -> int:
    """An integer of any length: Python's own conversion stops at 4,300 digits, since it takes the square of their number. So does this,
    in steps that keep the millionth digit below a second."""
    if len(text) <= _DIGITS:
        return int(text)
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text)
    value = 0
    for start in range(0, len(digits), _DIGITS):
        part = digits[start : start + _DIGITS]
        value = value * 10 ** len(part) + int(part)
    return sign * value


_DIGITS = 4_000
_DECODER = json.JSONDecoder(parse_int=_integer)


def parse(text: str) -> Any:
    """What a text of JSON says, whatever its numbers.

    :raises ValueError: it is no JSON
    """
    try:
        return json.loads(text)
    except ValueError:
        # Most often there is no such number, and the other way is slower.
        return _DECODER.decode(text)

_NEVER = float("inf")


def raw_field(text: str, name: str) -> str | None:
    """The text of one field of a JSON object, as it stands there; None where there is none. Parsing gives values only, and the merge
    rule compares texts. It is for the rare ties."""
    index = _skip_space(text, text.index("{") + 1)
    while text[index] == '"':
        found, index = _DECODER.raw_decode(text, index)
        start = _skip_space(text, _skip_space(text, index) + 1)
        _, end = _DECODER.raw_decode(text, start)
        if found == name:
            return text[start:end]
        index = _skip_space(text, end)
        if text[index] == ",":
            index = _skip_space(text, index + 1)
    return None


def depth(text: str) -> int:
    """How many objects and arrays stand in each other in a text of JSON."""
    deepest = nested = 0
    for bracket in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        if bracket in "[{":
            nested += 1
            deepest = max(deepest, nested)
        elif bracket in "]}":
            nested -= 1
    return deepest


def _skip_space(text: str, index: int) -> int:
    while text[index] in " \t\r\n":
        index += 1
    return index


class Register:
    """A register as a replica holds it: a key, a JSON value and a version (protocol/README.md, Registers). It keeps the frame that it
    came in, since the merge rule compares the texts of values; they are looked up when a tie asks for them."""

    __slots__ = (
        "key",
        "version",
        "value",
        "deleted",
        "expires_at",
        "metadata",
        "session",
        "cause",
        "revision",
        "is_own",
        "_frame",
        "_texts",
    )

    def __init__(self, key: str, fields: dict[str, Any], frame: str) -> None:
        """From an ``update``, a ``register``, or the ``winner`` of an ack, with the JSON that the fields were parsed from."""
        self.key = key
        self.version: str = fields["version"]
        self.deleted: bool = fields.get("deleted") is True
        self.value = None if self.deleted else fields.get("value")
        self.expires_at: int | None = fields.get("expires_at")
        self.metadata: dict[str, Any] | None = fields.get("metadata")
        self.session: str | None = fields.get("session")
        self.cause: str | None = fields.get("cause")
        self.revision: int | None = fields.get("revision")
        #: Whether it is a write of this client's outbox.
        self.is_own = False
        self._frame: str | None = frame
        self._texts: tuple[str, str] | None = None

    @classmethod
    def from_record(cls, record: dict[str, Any], expires_at: int | None) -> Register:
        """From what an outbox holds, with texts of JSON."""
        value, metadata = record.get("value"), record.get("metadata")
        fields = {
            "version": record["version"],
            "deleted": value is None,
            "value": None if value is None else parse(value),
            "expires_at": expires_at,
            "metadata": None if metadata is None else parse(metadata),
            "session": record.get("session"),
        }
        register = cls(record["key"], fields, "")
        register._texts = (value or "", metadata or "")
        register.is_own = True
        return register

    def _text(self, index: int) -> str:
        if self._texts is None:
            assert self._frame is not None
            self._texts = (raw_field(self._frame, "value") or "", raw_field(self._frame, "metadata") or "")
            self._frame = None
        return self._texts[index]

    def _rank(self) -> tuple[Any, ...]:
        # Python compares texts by code points, which is the order of their bytes in UTF-8.
        return (
            not self.deleted and self._text(0) or "",
            self.metadata is not None,
            self.metadata is not None and self._text(1) or "",
            self.session is not None,
            self.session or "",
        )

    def __gt__(self, other: Register) -> bool:
        """The merge rule: the greater register wins."""
        if self.version != other.version:
            return self.version > other.version
        mine = (_NEVER if self.expires_at is None else self.expires_at, self.deleted)
        theirs = (_NEVER if other.expires_at is None else other.expires_at, other.deleted)
        return mine > theirs if mine != theirs else self._rank() > other._rank()

    def is_same(self, other: Register) -> bool:
        """Whether the two are duplicates."""
        return self is other or (not self > other and not other > self)

    def is_visible(self, server_now: float) -> bool:
        """Whether reads see it at a time of the server's wall clock."""
        return not self.deleted and (self.expires_at is None or self.expires_at > server_now)
