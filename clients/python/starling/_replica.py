"""What a client holds of one pattern."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._register import Register


@dataclass(slots=True)
class _Entry:
    #: What the server confirmed; None where there is only a write on its way.
    confirmed: Register | None = None
    #: The generation it was last seen in.
    generation: int = 0
    #: What readers see.
    shown: Register | None = None
    #: What the subscriber was told last.
    told: Register | None = None


class Replica:
    """What a client holds of one pattern: the registers that the server confirmed, under the writes of its own that are still on their
    way. What a reader sees of a key is the greater of the two, and a change is told once.

    :param pending_write: the client's newest write to a key that is still on its way
    :param changed: is told what is to be seen of a key now (None: nothing any more), and why; says whether it told the subscriber
    """

    def __init__(
        self,
        pending_write: Callable[[str], Register | None],
        changed: Callable[[str, Register | None, str | None], bool],
    ) -> None:
        self._entries: dict[str, _Entry] = {}
        self._generation = 0
        self._replacing = False
        # Keys of tombstones: those since the last cursor, and those before it.
        self._young: list[str] = []
        self._old: list[str] = []
        self._pending_write = pending_write
        self._changed = changed

    def begin(self, replace: bool) -> None:
        """The server begins to send; ``replace``: what comes takes the place of what is held."""
        if replace:
            self._replacing = True
            self._generation += 1

    def synced(self) -> None:
        """Everything there was has been sent: what a replacing snapshot did not have is gone, however great its version."""
        if not self._replacing:
            return
        self._replacing = False
        for key, entry in list(self._entries.items()):
            if entry.confirmed is not None and entry.generation != self._generation:
                entry.confirmed = None
                self._show(key, entry, "resync")

    def apply(self, register: Register) -> None:
        """Takes a register from the server."""
        entry = self._entries.setdefault(register.key, _Entry())
        is_current = entry.confirmed is not None and entry.generation == self._generation
        entry.generation = self._generation
        # Of a key seen in this generation the merge rule decides; what was held before the snapshot that replaces it does not count.
        if is_current and not register > entry.confirmed:  # type: ignore[operator]
            return
        entry.confirmed = register
        if register.deleted:
            self._young.append(register.key)
        self._show(register.key, entry, None)

    def touch(self, key: str, cause: str | None = None) -> None:
        """A write of the client's to a key was made, answered or given up."""
        entry = self._entries.get(key)
        if entry is None:
            if self._pending_write(key) is None:
                return
            entry = self._entries[key] = _Entry()
        self._show(key, entry, cause)

    def _show(self, key: str, entry: _Entry, cause: str | None) -> None:
        visible = _greater(entry.confirmed, self._pending_write(key))
        entry.shown = visible
        if visible is None:
            del self._entries[key]
            if entry.told is not None and not entry.told.deleted:
                self._changed(key, None, cause)
        elif (entry.told is not None and visible.is_same(entry.told)) or self._changed(key, visible, cause):
            entry.told = visible

    def cursor_passed(self) -> None:
        """The server gave a cursor: nothing that came before the previous one can come again, so deletes that old need not be known.
        They are kept until then, lest they are told twice after a resumption."""
        for key in self._old:
            entry = self._entries.get(key)
            if entry and entry.confirmed and entry.confirmed.deleted and self._pending_write(key) is None:
                del self._entries[key]
        self._old, self._young = self._young, []

    def get(self, key: str) -> Register | None:
        """What is to be seen of a key: also a tombstone, and what has expired."""
        entry = self._entries.get(key)
        return entry.shown if entry else None

    def list(self, server_now: float) -> list[Register]:
        """All there is to be seen, by key."""
        shown = [entry.shown for entry in self._entries.values() if entry.shown and entry.shown.is_visible(server_now)]
        return sorted(shown, key=lambda register: register.key)


def _greater(a: Register | None, b: Register | None) -> Register | None:
    if a is None or b is None:
        return b if a is None else a
    return b if b > a else a
