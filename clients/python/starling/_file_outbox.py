"""An outbox in a file."""

from __future__ import annotations

import json
import os
from typing import Any, TextIO

from ._errors import StarlingError
from ._file_lock import FileLock

#: What the file begins with.
_HEADER = {"starling": "outbox", "format": 1}


class FileOutbox:
    """An outbox in a file: a line that says so, then a line of JSON for each write (``{"put":…}``) and for each final answer
    (``{"done":<version>}``). A write is in the file before ``broadcast`` returns, so that it survives the process; with ``fsync``, the
    machine too. One client at a time: a lock on ``<path>.lock`` sees to that.

    What it raises, where the file is none of its own, is in use or cannot be written, is ``outbox_failed``."""

    is_durable = True

    def __init__(self, path: str | os.PathLike[str], fsync: bool = False) -> None:
        self._path = os.path.realpath(path)
        self._fsync = fsync
        self._file: TextIO | None = None
        self._lock: FileLock | None = None
        self._records: dict[str, dict[str, Any]] = {}
        self._lines = 0

    def load(self) -> list[dict[str, Any]]:
        # Before anything else: what fails below closes the outbox, and this one is in use.
        if self._lock is not None:
            raise StarlingError("outbox_failed", f"this outbox ({self._path}) is in use by another client; each has its own")
        self._records.clear()
        try:
            self._lock = FileLock(self._path)
            if os.path.exists(self._path):
                self._replay()
            self._compact()
        except StarlingError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StarlingError("outbox_failed", f"the outbox {self._path} cannot be used: {error}") from error
        return list(self._records.values())

    def _replay(self) -> None:
        """Reads the file. Nothing of it is changed before all of it is known to be ours."""
        with open(self._path, "rb") as file:
            lines = file.read().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                self._take(entry, number)
            except (ValueError, KeyError, TypeError) as error:
                # The last line of a process that was killed in the middle of it; there is one before it.
                if number == len(lines) and number > 1:
                    return
                raise StarlingError(
                    "outbox_failed", f"line {number} of {self._path} is none of an outbox; nothing was changed"
                ) from error

    def _take(self, entry: Any, number: int) -> None:
        if not isinstance(entry, dict):
            raise ValueError("no object")
        if "put" in entry:
            self._records[entry["put"]["version"]] = entry["put"]
        elif "done" in entry:
            self._records.pop(entry["done"], None)
        elif number != 1 or entry.get("starling") != "outbox":
            raise ValueError("none of ours")
        elif entry.get("format") != _HEADER["format"]:
            raise StarlingError("outbox_failed", f"{self._path} is of another version of this client")

    def _compact(self) -> None:
        """Begins a new file with what still waits; the old one stays until the new one is whole."""
        temporary = f"{self._path}.new"
        file = open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")
        for line in (_HEADER, *({"put": record} for record in self._records.values())):
            file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
        os.replace(temporary, self._path)
        if self._file is not None:
            self._file.close()
        self._file = file
        self._lines = len(self._records)

    def _append(self, entry: dict[str, Any]) -> None:
        if self._file is None:
            raise StarlingError("outbox_failed", f"the outbox {self._path} is closed")
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        if self._fsync:
            os.fsync(self._file.fileno())
        self._lines += 1
        if self._lines > 1000 and self._lines > 4 * len(self._records):
            self._compact()

    def put(self, record: dict[str, Any]) -> None:
        self._records[record["version"]] = record
        try:
            self._append({"put": record})
        except BaseException:
            self._records.pop(record["version"], None)
            raise

    def remove(self, version: str) -> None:
        if self._records.pop(version, None) is not None:
            self._append({"done": version})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            self._lock.release()
        self._file, self._lock = None, None
