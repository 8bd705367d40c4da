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


def check_key(key: Any) -> None:
    """
    :raises StarlingError: ``bad_key``
    """
    if not isinstance(key, str) or not key:
        raise StarlingError("bad_key", f"a key is a text of 1 to {_LONGEST_KEY} bytes, not {key!r}")
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
    is_number = isinstance(ttl, int | float) and not isinstance(ttl, bool)
    if not (is_number and math.isfinite(ttl) and ttl > 0):
        raise StarlingError("bad_value", f"ttl is {ttl!r}; it is in seconds, and more than 0")


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
        raise StarlingError("bad_value", f"{what} is {text!r}; it is a text of 1 to {longest} bytes without control characters")


def check_depth(what: str, text: str | None, levels: int) -> None:
    """
    :param text: of JSON
    :raises StarlingError: ``bad_value``
    """
    # Two characters a level are the least.
    if text is not None and len(text) > 2 * levels and depth(text) > levels:
        raise StarlingError("bad_value", f"{what} nests more than {levels} levels")
