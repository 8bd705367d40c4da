"""What speaks against sending something, found out before it is sent: a server cannot tell which message it is that it cannot read."""

from __future__ import annotations

import json
import math
from typing import Any

from ._clock import has_control_character
from ._errors import StarlingError
from ._register import depth

#: How deep a message may nest (protocol/README.md).
MAXIMUM_DEPTH = 128
_LONGEST_KEY = 512


def check_is_text(key: Any) -> None:
    """For what is only read here, where a key that nobody could write is just not there.

    :raises StarlingError: ``bad_key``
    """
    if not isinstance(key, str):
        raise StarlingError("bad_key", f"a key is a text of 1 to {_LONGEST_KEY} bytes, not {shown(key)}")


def check_key(key: Any) -> None:
    """
    :raises StarlingError: ``bad_key``
    """
    if not isinstance(key, str) or not key:
        raise StarlingError("bad_key", f"a key is a text of 1 to {_LONGEST_KEY} bytes, not {shown(key)}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise StarlingError("bad_key", f"the key {key!r} is no Unicode text: {error.reason}") from error
    if size > _LONGEST_KEY:
        raise StarlingError("bad_key", f"the key {key[:40]!r}… is {size} bytes; the limit is {_LONGEST_KEY}")
    if has_control_character(key):
        raise StarlingError("bad_key", f"the key {key!r} has a control character")


def to_json(value: Any, what: str) -> str:
    """
    :raises StarlingError: ``bad_value``: it has no JSON that a server would take
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise StarlingError("bad_value", f"{what} has no JSON: {error}") from error
    # The message around it is a level too.
    check_depth(what, text, MAXIMUM_DEPTH - 1)
    return text


def check_time_to_live(ttl: Any) -> None:
    """
    :raises StarlingError: ``bad_value``
    """
    if ttl is None:
        return
    if not (is_number(ttl) and ttl > 0):
        raise StarlingError("bad_value", f"ttl is {shown(ttl)}; it is in seconds, and more than 0")


def is_number(value: Any) -> bool:
    """Whether it is one that can be reckoned with: finite, and not an integer of hundreds of digits."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def shown(value: Any) -> str:
    """A value for a message: not all of it where it is long."""
    try:
        text = repr(value)
    except ValueError:
        # An integer of more digits than Python likes to print.
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}…"


def check_text(what: str, text: Any, longest: int) -> None:
    """
    :raises StarlingError: ``bad_value``
    """
    if text is None:
        return
    try:
        is_good = isinstance(text, str) and 1 <= len(text.encode()) <= longest and not has_control_character(text)
    except UnicodeEncodeError:
        is_good = False
    if not is_good:
        raise StarlingError("bad_value", f"{what} is {shown(text)}; it is a text of 1 to {longest} bytes without control characters")


def check_depth(what: str, text: str | None, levels: int) -> None:
    """
    :param text: of JSON
    :raises StarlingError: ``bad_value``
    """
    # Two characters a level are the least.
    if text is not None and len(text) > 2 * levels and depth(text) > levels:
        raise StarlingError("bad_value", f"{what} nests more than {levels} levels")
