"""Patterns over keys."""

from __future__ import annotations

import json
from enum import Enum

from ._check import shown
from ._clock import has_control_character
from ._errors import StarlingError

_MAXIMUM_LENGTH = 1024
_MAXIMUM_WILDCARDS = 16


class _Wildcard(Enum):
    ONE = "one scalar within a segment"
    SEGMENT = "any run within a segment"
    ANY = "any run"


_Token = str | _Wildcard


class Pattern:
    """A pattern over keys: protocol/README.md, Patterns.

    :raises StarlingError: ``bad_pattern``, saying what is wrong with it
    """

    def __init__(self, text: str) -> None:
        _check(text)
        self.text = text
        tokens = _tokenize(text)
        self._exact: str | None = None
        self._prefix: str | None = None
        self._tokens = tokens
        wildcards = [index for index, token in enumerate(tokens) if isinstance(token, _Wildcard)]
        literal = "".join(token for token in tokens if isinstance(token, str))
        if not wildcards:
            self._exact = literal
        elif wildcards == [len(tokens) - 1] and tokens[-1] is _Wildcard.ANY:
            self._prefix = literal

    @property
    def exact(self) -> str | None:
        """The one key that it matches; None where there may be others."""
        return self._exact

    def matches(self, key: str) -> bool:
        """Whether a key matches. Costs a comparison for exact and prefix patterns, else O(pattern × key) at worst."""
        if self._exact is not None:
            return key == self._exact
        if self._prefix is not None:
            return key.startswith(self._prefix)
        return self._walk(key)

    def _walk(self, key: str) -> bool:
        """``row[j]`` says whether the first ``j`` tokens match the scalars seen so far; a row for each scalar of the key."""
        row = [True]
        for token in self._tokens:
            row.append(row[-1] and token in (_Wildcard.ANY, _Wildcard.SEGMENT))
        for scalar in key:
            before, row = row, [False]
            within = scalar != ":"
            for column, token in enumerate(self._tokens):
                if token is _Wildcard.ANY:
                    row.append(row[column] or before[column + 1])
                elif token is _Wildcard.SEGMENT:
                    row.append(row[column] or (before[column + 1] and within))
                elif token is _Wildcard.ONE:
                    row.append(before[column] and within)
                else:
                    row.append(before[column] and scalar == token)
            if True not in row:
                return False
        return row[-1]


def _fail(text: str, problem: str) -> StarlingError:
    return StarlingError("bad_pattern", f"the pattern {json.dumps(text)} {problem}")


def _check(text: str) -> None:
    if not isinstance(text, str):
        raise StarlingError("bad_pattern", f"a pattern is a text, not {shown(text)}")
    if not text:
        raise _fail(text, "is empty; * matches every key")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _fail(text, f"is no Unicode text: {error.reason}") from error
    if len(text.encode()) > _MAXIMUM_LENGTH:
        raise _fail(text[:40], f"is {len(text.encode())} bytes; the limit is {_MAXIMUM_LENGTH}")
    if has_control_character(text):
        raise _fail(text, "has a control character")


def _tokenize(text: str) -> list[_Token]:
    """One token for each scalar or wildcard."""
    tokens: list[_Token] = []
    index = 0
    while index < len(text):
        if text[index] == "\\":
            if index + 1 == len(text):
                raise _fail(text, "ends with a \\ that escapes nothing")
            tokens.append(text[index + 1])
            index += 2
        elif text[index] == "?":
            tokens.append(_Wildcard.ONE)
            index += 1
        elif text[index] == "*":
            stars = len(text) - index - len(text[index:].lstrip("*"))
            if stars > 2:
                raise _fail(text, "has more than two stars in a row")
            index += stars
            # At the end of the pattern a single star reaches over segments too.
            tokens.append(_Wildcard.ANY if stars == 2 or index == len(text) else _Wildcard.SEGMENT)
        else:
            tokens.append(text[index])
            index += 1
    wildcards = sum(isinstance(token, _Wildcard) for token in tokens)
    if wildcards > _MAXIMUM_WILDCARDS:
        raise _fail(text, f"has {wildcards} wildcards; the limit is {_MAXIMUM_WILDCARDS}")
    return tokens
