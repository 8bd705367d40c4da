"""What users are told."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ._clock import agent_of, stamp_of
from ._register import Register


@dataclass(frozen=True, slots=True, repr=False)
class Update:
    """A register, as it is to be seen now."""

    key: str
    #: Any JSON; None for a deleted one.
    value: Any = None
    deleted: bool = False
    version: str | None = None
    #: The version's time, in milliseconds since 1970.
    timestamp: int | None = None
    #: Who wrote it.
    agent: str | None = None
    #: Its place in the order of changes of one database; None while it is pending.
    revision: int | None = None
    #: When it expires, in milliseconds since 1970.
    expires_at: int | None = None
    metadata: dict[str, Any] | None = None
    session: str | None = None
    #: Why it is as it is, where that is not plainly a write: ``expired``, ``disconnected``, ``refused``, ``resync``.
    cause: str | None = None
    #: Whether it is this client's own write, and still on its way.
    pending: bool = False
    #: Whether it was broadcast without being stored.
    transient: bool = False

    def __repr__(self) -> str:
        shown = (f"{field.name}={_show(getattr(self, field.name))}" for field in fields(self))
        return f"Update({', '.join(shown)})"


def _show(value: Any) -> str:
    try:
        return repr(value)
    except ValueError as error:
        # Python shows no integer of more than 4,300 digits, and one that somebody has written must not stop who lists it.
        return f"<{type(value).__name__}: {error}>"


def describe(register: Register, pending: bool = False, cause: str | None = None, transient: bool = False) -> Update:
    return Update(
        key=register.key,
        value=register.value,
        deleted=register.deleted,
        version=register.version,
        timestamp=stamp_of(register.version)[0],
        agent=agent_of(register.version),
        revision=register.revision,
        expires_at=register.expires_at,
        metadata=register.metadata,
        session=register.session,
        cause=register.cause or cause,
        pending=pending,
        transient=transient,
    )
