"""Which runs a sweep is making, so that another sweep in the same folder makes others."""

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout


class RunLocks:
    """The runs that this sweep is making: a locked file for each. However a process ends, its locks end with it.

    Where files cannot be locked, as on some network file systems, the sweep goes on without: another one may make the
    same run, which spoils nothing. `missing` then says why.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.locks: dict[str, FileLock | None] = {}
        self.missing: str | None = None

    @property
    def names(self) -> set[str]:
        return set(self.locks)

    def take(self, name: str) -> bool:
        """Whether the run was free."""
        lock = FileLock(self.folder / f".{name}.lock", blocking=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        except (OSError, NotImplementedError) as error:  # the second is filelock's for file systems without locks
            self.missing = getattr(error, "strerror", None) or str(error)
            lock = None
        self.locks[name] = lock
        return True

    def give_back(self, name: str) -> None:
        lock = self.locks.pop(name)
        if lock:
            with contextlib.suppress(PermissionError):  # Windows removes no open file
                Path(lock.lock_file).unlink(missing_ok=True)  # while it is locked: nobody takes one about to go
            lock.release()
