"""An outbox in a file."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import Any

from ._check_options import check_boolean
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
        check_boolean("fsync", fsync)
        self._path = os.path.realpath(path)
        self._fsync = fsync
        self._file: int | None = None
        # How long the file is, as far as we have written it.
        self._size = 0
        self._lock: FileLock | None = None
        self._records: dict[str, dict[str, Any]] = {}
        self._lines = 0

    def load(self) -> list[dict[str, Any]]:
        # Before anything else: what fails below closes the outbox, and this one is in use.
        if self._lock is not None:
            raise StarlingError("outbox_failed", f"this outbox ({self._path}) is in use by another client; each has its own")
        self._records.clear()
        self._lines = 0
        try:
            self._check_kind()
            self._lock = FileLock(self._path)
            self._open()
        except StarlingError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StarlingError("outbox_failed", f"the outbox {self._path} cannot be used: {error}") from error
        return list(self._records.values())

    def _check_kind(self) -> None:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            raise StarlingError("outbox_failed", f"{self._path} is no file that an outbox could be kept in")
        if status.st_nlink > 1:
            text = f"{self._path} has {status.st_nlink} names (hard links), and the lock goes by the name: remove the others"
            raise StarlingError("outbox_failed", text)

    def _open(self) -> None:
        """Takes over what is there, and leaves a file to append to."""
        is_whole = os.path.exists(self._path) and self._replay()
        try:
            self._compact()
        except OSError:
            # A full disk: what is there is good, and grows no longer by what is done.
            if not is_whole:
                raise
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
            self._size = os.fstat(self._file).st_size

    def _replay(self) -> bool:
        """Reads the file. Nothing of it is changed before all of it is known to be ours.

        :return: whether more can be appended to it as it is
        """
        with open(self._path, "rb") as file:
            lines = file.read().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                self._take(entry, number)
                self._lines += 1
            except (ValueError, KeyError, TypeError) as error:
                # The last line of a process that was killed in the middle of it; there is one before it.
                if number == len(lines) and number > 1:
                    return False
                raise StarlingError(
                    "outbox_failed", f"line {number} of {self._path} is none of an outbox; nothing was changed"
                ) from error
        return self._lines > 0 and not lines[-1]

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
        lines = [json.dumps(line) for line in (_HEADER, *({"put": record} for record in self._records.values()))]
        content = "".join(f"{line}\n" for line in lines).encode()
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _write(file, content)
            os.fsync(file)
            os.replace(temporary, self._path)
        except BaseException:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._lines = file, len(content), len(self._records)

    def _append(self, entry: dict[str, Any]) -> None:
        if self._file is None:
            raise StarlingError("outbox_failed", f"the outbox {self._path} is closed")
        self._check_file(self._file)
        content = (json.dumps(entry) + "\n").encode()
        try:
            _write(self._file, content)
            if self._fsync:
                os.fsync(self._file)
        except BaseException:
            # Half a line would spoil the next one, and a whole one would be sent though the write failed.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(content)
        self._lines += 1
        if self._lines > 1000 and self._lines > 4 * len(self._records):
            # On a full disk the old file goes on.
            with contextlib.suppress(OSError):
                self._compact()

    def _check_file(self, file: int) -> None:
        """What is written into a file that nobody finds any more, or that was cut off, is lost.

        :raises StarlingError: ``outbox_failed``
        """
        try:
            there = os.stat(self._path)
            is_ours = os.path.samestat(there, os.fstat(file)) and there.st_size == self._size
        except FileNotFoundError:
            is_ours = False
        if not is_ours:
            raise StarlingError("outbox_failed", f"{self._path} was removed, replaced or changed by somebody else: it keeps nothing more")

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
        file, lock, self._file, self._lock = self._file, self._lock, None, None
        if file is not None:
            os.close(file)
        if lock is not None:
            lock.release()


def _write(file: int, content: bytes) -> None:
    """
    :raises OSError: the disk is full, for example; some of it may be written
    """
    while content:
        content = content[os.write(file, content) :]
