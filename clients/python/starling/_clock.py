"""Versions, and the clock that makes them."""

from __future__ import annotations

import json
import re
import unicodedata

from ._errors import StarlingError

_MAXIMUM_COUNTER = 0xFFFF
_VERSION = re.compile(r"([0-9a-f]{12})-([0-9a-f]{4})-(.+)", re.DOTALL)


class Clock:
    """A hybrid logical clock (Kulkarni et al., 2014): its stamps follow the wall clock, never go back, and are above every stamp
    received. Time is a parameter."""

    def __init__(self) -> None:
        self.milliseconds = 0
        self.counter = 0
        # The greatest stamp that came from a server.
        self._received = (0, 0)

    def tick(self, now: float) -> tuple[int, int]:
        """Issues the next stamp.

        :param now: the wall clock, in milliseconds
        """
        # A fraction must not make the same millisecond look like a later one.
        if int(now) > self.milliseconds:
            self.milliseconds, self.counter = int(now), 0
        elif self.counter < _MAXIMUM_COUNTER:
            self.counter += 1
        else:
            self.milliseconds, self.counter = self.milliseconds + 1, 0
        return self.milliseconds, self.counter

    def receive(self, milliseconds: int, counter: int) -> None:
        """Takes note of a stamp that came from a server, so that the next ones are above it."""
        self.rise(milliseconds, counter)
        self._received = max(self._received, (milliseconds, counter))

    def rise(self, milliseconds: int, counter: int) -> None:
        """Takes note of a stamp of our own."""
        self.milliseconds, self.counter = max((self.milliseconds, self.counter), (milliseconds, counter))

    def reset(self) -> None:
        """Goes back to what servers have sent: our own wall clock turned out to be wrong. What it stamped has to be stamped again."""
        self.milliseconds, self.counter = self._received


def has_control_character(text: str) -> bool:
    """Whether a text has a character of Unicode's category Cc."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def format_version(milliseconds: int, counter: int, agent: str) -> str:
    """The text of a version: ``01a0c5d3e800-0000-planner``."""
    return f"{milliseconds:012x}-{counter:04x}-{agent}"


def stamp_of(version: str) -> tuple[int, int]:
    """The stamp of a version that is known to be one: what a server sends, and what we made."""
    return int(version[:12], 16), int(version[13:17], 16)


def agent_of(version: str) -> str:
    """The agent of a version that is known to be one."""
    return version[18:]


def parse_version(text: str) -> tuple[int, int, str]:
    """Reads a version: milliseconds, counter, agent.

    :raises StarlingError: ``bad_version`` where the text is not canonical
    """
    match = _VERSION.fullmatch(text)
    if not match or len(match[3].encode()) > 64 or has_control_character(match[3]):
        raise StarlingError("bad_version", f"{json.dumps(text)} is no version like 01a0c5d3e800-0000-planner")
    return int(match[1], 16), int(match[2], 16), match[3]
