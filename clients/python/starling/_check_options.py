"""What speaks against an option, found out before anything happens."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from ._check import check_text, is_number, shown
from ._errors import StarlingError


class Unset(Enum):
    """For an option of which None says something."""

    UNSET = 0


UNSET = Unset.UNSET
_OUTBOX = ("load", "put", "remove", "close")
_EXAMPLE = "ws://127.0.0.1:7827/sync"


def complete(urls: str | Sequence[str]) -> list[str]:
    """
    :return: each URL once, with its path
    :raises StarlingError: ``bad_url``
    """
    if isinstance(urls, str):
        urls = [urls]
    try:
        names = list(urls)
    except TypeError:
        raise StarlingError("bad_url", f"{urls!r} is no URL like {_EXAMPLE}") from None
    if not names:
        raise StarlingError("bad_url", f"a client needs the URL of a server, like {_EXAMPLE}")
    return list(dict.fromkeys(_complete(url) for url in names))


def _complete(url: Any) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except (ValueError, AttributeError, TypeError) as error:
        raise StarlingError("bad_url", f"{url!r} is no URL like {_EXAMPLE}: {error}") from error
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.fragment:
        raise StarlingError("bad_url", f"{url!r} is no URL like {_EXAMPLE}")
    url = urlunsplit(parts._replace(path="/sync") if parts.path in ("", "/") else parts)
    return str(url)


def check_options(
    agent: Any,
    session: Any,
    token: Any,
    outbox: Any,
    outbox_limit: Any,
    ping_interval: Any,
    ping_timeout: Any,
    probe_interval: Any,
    on_refused: Any,
    logger: Any,
    websocket: Any,
) -> None:
    """
    :raises StarlingError: ``bad_agent``, ``bad_value`` for the session, else ``bad_option``
    """
    try:
        check_text("agent", agent, 64)
    except StarlingError as error:
        raise StarlingError("bad_agent", str(error)) from None
    check_text("session", session, 128)
    if not (token is None or isinstance(token, str) or callable(token)):
        raise StarlingError("bad_option", f"token is a {type(token).__name__}; it is a text, or a function that gives one")
    if outbox is not None and not all(callable(getattr(outbox, name, None)) for name in _OUTBOX):
        example = f"FileOutbox({outbox!r})" if isinstance(outbox, str) else "FileOutbox(path)"
        raise StarlingError("bad_option", f"outbox is {outbox!r}; it is an outbox such as {example}")
    numbers = {
        "outbox_limit": outbox_limit,
        "ping_interval": ping_interval,
        "ping_timeout": ping_timeout,
        "probe_interval": probe_interval,
    }
    for name, number in numbers.items():
        if not is_number(number) or number <= 0:
            raise StarlingError("bad_option", f"{name} is {shown(number)}; it is a number, and more than 0")
    check_callback("on_refused", on_refused)
    if logger is not None and not isinstance(logger, logging.Logger | logging.LoggerAdapter):
        raise StarlingError("bad_option", f"logger is {logger!r}; it is a logging.Logger")
    if websocket is not None and not isinstance(websocket, Mapping):
        raise StarlingError("bad_option", f"websocket is {websocket!r}; it is a mapping of options for websockets.connect")


def check_callback(what: str, callback: Any) -> None:
    """
    :raises StarlingError: ``bad_option``
    """
    if not callable(callback):
        raise StarlingError("bad_option", f"{what} is {callback!r}; it is a function")


def check_boolean(what: str, value: Any) -> None:
    """
    :raises StarlingError: ``bad_option``
    """
    if not isinstance(value, bool):
        raise StarlingError("bad_option", f"{what} is {value!r}; it is True or False")


def check_timeout(timeout: Any, optional: bool = False) -> None:
    """
    :param optional: whether None, for no end, is one too
    :raises StarlingError: ``bad_option``
    """
    if optional and timeout is None:
        return
    if not (is_number(timeout) or timeout == math.inf) or not timeout >= 0:
        raise StarlingError("bad_option", f"timeout is {shown(timeout)}; it is in seconds, and not less than 0")


def to_object(fields: Any, what: str) -> dict[str, Any]:
    """
    :raises StarlingError: ``bad_value``
    """
    if not isinstance(fields, Mapping):
        raise StarlingError("bad_value", f"{what} is {shown(fields)}; it is an object")
    return dict(fields)


def _check_fence(fence: Any) -> dict[str, Any]:
    token = fence.get("token") if isinstance(fence, Mapping) else None
    if isinstance(token, int) and not isinstance(token, bool) and isinstance(fence.get("key"), str):
        return {"key": fence["key"], "token": token}
    hint = ': {"key": lease.key, "token": lease.fence}' if hasattr(fence, "fence") else ""
    raise StarlingError("bad_value", f"fence is {shown(fence)}; it is the key of a claim and its token{hint}")


def conditions(
    expect: str | None | Literal[Unset.UNSET], fence: Mapping[str, Any] | None, transient: bool, version: str | None
) -> dict[str, Any]:
    """What a write carries that is not queued.

    :raises StarlingError: ``bad_value``
    """
    result: dict[str, Any] = {}
    if expect is not UNSET:
        if expect is not None and not isinstance(expect, str):
            raise StarlingError("bad_value", f"expect is {shown(expect)}; it is a version, or None for absent")
        result["expect"] = expect
    if fence is not None:
        result["fence"] = _check_fence(fence)
    if not isinstance(transient, bool):
        raise StarlingError("bad_value", f"transient is {transient!r}; it is True or False")
    if transient:
        result["transient"] = True
    if version is not None:
        check_text("version", version, 128)
        result["version"] = version
    return result
