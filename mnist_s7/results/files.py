"""Files that are written atomically, and folders that are tried before anything long begins."""

import os
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
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made by this call alone, and as the umask has it: tempfile's are their owner's, whatever that is.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


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
