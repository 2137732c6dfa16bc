"""Files that are written atomically, and folders that are tried before anything long begins."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from mnist_s7 import MnistS7Error

TRIED = bytes(64 * 1024)  # more than a run's file: a disk that is full to the last kilobytes is found out


class OutputError(MnistS7Error):
    """A file or a folder that cannot be written; the `OSError` that says so is its cause."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `path` so that a reader, a crash or a full disk finds the old file or the new, never a part; its folder is
    made if need be.

    Raises `OutputError` where it cannot be written.
    """
    write_together({path: content})


def write_together(files: Mapping[Path, str | bytes]) -> None:
    """Write several files, each atomically, and none before all of them are on the disk: they then take their places
    in their order, and only a crash between two of these moments leaves a new one beside an old one.

    Raises `OutputError` where one cannot be written.
    """
    temporary = {path: path.with_name(f".{path.name}.{uuid4().hex}") for path in files}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made by this call alone, and as the umask has it: tempfile's are their owner's, whatever that is.
            handle = os.open(temporary[path], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for path in files:
            os.replace(temporary[path], path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:  # after Ctrl-C too
        for each in temporary.values():
            with suppress(OSError):
                each.unlink()


def prepare(folder: Path, *names: str) -> None:
    """Make `folder`, and see that files of these names can be written there: before a training run, not after it.

    Raises `OutputError` where they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{folder}: is no folder; choose another one, or move what is there") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    for name in names:
        if (folder / name).is_dir():
            raise OutputError(f"{folder / name}: is a folder, where a file is to be written; move it")
    trial = folder / f".trial.{uuid4().hex}"
    try:
        write_atomically(trial, TRIED)
        trial.unlink()
    except OutputError as error:
        raise _unwritable(folder, error.__cause__) from error.__cause__


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: cannot be written ({error.strerror or error}); make room or give the right to write there, or "
        "choose another folder"
    )
