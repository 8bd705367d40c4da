"""A file that one process uses at a time."""

from __future__ import annotations

import contextlib
import os
import sys

from ._errors import StarlingError

if sys.platform != "win32":
    import fcntl

#: Paths that this process has locked: where there is no lock of the system's, they are what there is.
_ours: set[str] = set()


class FileLock:
    """A lock on ``<path>.lock``, which the system lets go of when the process ends. The file says who has it, for people and for the
    clients in languages that have no such locks: ``flock <pid>`` where there is one of the system's, else ``pid <pid>``.

    :raises StarlingError: ``outbox_failed``: somebody else has it
    """

    def __init__(self, path: str) -> None:
        self._path = f"{path}.lock"
        if self._path in _ours:
            raise self._refusal("another client of this process")
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_holder()
        except OSError as error:
            holder = self._holder()
            os.close(self._file)
            raise self._refusal(self._advice(holder[1]) if holder else f"another process ({self._path})") from error
        except StarlingError:
            os.close(self._file)
            raise
        _ours.add(self._path)
        # Who has it is for others to read; the lock itself needs no room on the disk.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{'flock' if sys.platform != 'win32' else 'pid'} {os.getpid()}".encode(), 0)

    def _refusal(self, holder: str) -> StarlingError:
        return StarlingError("outbox_failed", f"{self._path.removesuffix('.lock')} is in use by {holder}")

    def _advice(self, pid: int) -> str:
        # A number is given anew after a restart of the machine.
        return f"process {pid}; if that is no client of Starling, remove {self._path}"

    def _holder(self) -> tuple[str, int] | None:
        words = os.pread(self._file, 64, 0).decode(errors="replace").split()
        return (words[0], int(words[1])) if len(words) == 2 and words[1].isdigit() else None

    def _check_holder(self) -> None:
        holder = self._holder()
        # A lock of the system's that we could have is nobody's, whatever the file says.
        if holder is None or (holder[0] == "flock" and sys.platform != "win32") or holder[1] == os.getpid():
            return
        if _is_alive(holder[1]):
            raise self._refusal(self._advice(holder[1]))

    def release(self) -> None:
        _ours.discard(self._path)
        # Not removed: somebody may be waiting for just this file.
        os.ftruncate(self._file, 0)
        os.close(self._file)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
