"""What can go wrong."""

from __future__ import annotations

from typing import Any


class StarlingError(Exception):
    """What went wrong. ``code`` is one of protocol/README.md, section Errors, or one of the client's own (README.md, Errors)."""

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details or {}


class StarlingTimeoutError(StarlingError, TimeoutError):
    """The time that the caller gave is over; what was waited for goes on. ``code`` is ``timeout``."""

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)
