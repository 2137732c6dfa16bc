"""A data set's files fetched from where torchvision fetches them: each arrives whole and checked, or not at all."""

import os
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mnist_s7.data.datasets import DataSet, IdxFile
from mnist_s7.data.digits import DigitsUnavailable
from mnist_s7.data.files import checked, remedies

MIRROR_TIMEOUT = 30  # seconds of silence after which a mirror counts as broken

# Puts what an address has into a folder.
Fetch = Callable[[str, Path], None]


def download(data_set: DataSet, folder: Path, because: str) -> None:
    """Fetch the files that `folder` lacks. A file whose own MD5 is known is stored extracted, another one as the .gz
    that has one.

    Raises `DigitsUnavailable`, which says what was tried, and first `because`: why they are needed.
    """
    tried = [because]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch,
            _timeout(MIRROR_TIMEOUT),
        ):
            lacking = [file for file in data_set.files if not _is_there(file, folder)]
            for number, (files, urls, fetch) in enumerate(_sources(data_set, lacking)):
                place = _fetched(data_set, files, urls, fetch, Path(scratch) / str(number), tried)
                for file in files:
                    os.replace(place / _stored(file), folder / _stored(file))
    except OSError as error:
        tried.append(f"{folder}: cannot be written ({error.strerror or error})")
        raise DigitsUnavailable(_unavailable(data_set, tried), named=False) from error


def _is_there(file: IdxFile, folder: Path) -> bool:
    return any((folder / name).exists() for name in (file.name, f"{file.name}.gz"))


def _stored(file: IdxFile) -> str:
    return file.name if file.md5 else f"{file.name}.gz"


def _sources(data_set: DataSet, lacking: list[IdxFile]) -> Iterator[tuple[list[IdxFile], list[str], Fetch]]:
    """Files that come together, the addresses that have them, and how they are fetched from one."""
    from torchvision import datasets  # here, since who has the files needs none of it

    own = getattr(datasets, data_set.torchvision)
    if own is datasets.EMNIST:
        if lacking:
            yield lacking, [own.url], lambda url, place: _fetch_zip(url, own.md5, lacking, place)
        return
    if own is datasets.QMNIST:
        addresses = {Path(url).name: ([url], md5) for part in ("train", "test") for url, md5 in own.resources[part]}
    else:
        addresses = {archive: ([f"{mirror}{archive}" for mirror in own.mirrors], md5) for archive, md5 in own.resources}
    for file in lacking:
        urls, md5 = addresses[f"{file.name}.gz"]
        yield [file], urls, lambda url, place, file=file, md5=md5: _fetch_gz(url, md5, file, place)


def _fetch_gz(url: str, md5: str, file: IdxFile, place: Path) -> None:
    from torchvision.datasets.utils import download_and_extract_archive, download_url

    if file.md5:
        download_and_extract_archive(url, download_root=place, filename=f"{file.name}.gz", md5=md5)
    else:
        download_url(url, place, f"{file.name}.gz", md5)


def _fetch_zip(url: str, md5: str, files: list[IdxFile], place: Path) -> None:
    """Of a zip with the files of many splits, those that are wanted."""
    from torchvision.datasets.utils import download_url

    archive = Path(url).name
    download_url(url, place, archive, md5)
    with zipfile.ZipFile(place / archive) as content:
        for file in files:
            with content.open(f"gzip/{file.name}.gz") as packed, open(place / f"{file.name}.gz", "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)


def _fetched(
    data_set: DataSet, files: list[IdxFile], urls: list[str], fetch: Fetch, scratch: Path, tried: list[str]
) -> Path:
    """A folder of its own under `scratch` with the files, from the first of `urls` that has them right."""
    for number, url in enumerate(urls):
        place = scratch / str(number)  # torchvision keeps what it finds, also a broken part from before
        try:
            fetch(url, place)
            for file in files:
                checked(data_set, file, place / _stored(file))
            return place
        except Exception as error:  # whatever a mirror, a proxy or the disk came up with, the next one is tried
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            tried.append(f"{url}: {reason}")
    raise DigitsUnavailable(_unavailable(data_set, tried), named=False)


def _unavailable(data_set: DataSet, tried: list[str]) -> str:
    said = [f"{data_set.name} was not found and could not be downloaded. Tried:", *tried]
    return "\n  ".join(said) + f"\n{remedies(data_set)}"


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """torchvision opens its connections without a time limit, and would wait for a silent mirror for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
