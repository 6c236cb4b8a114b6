"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017): found, verified, loaded.

Looked for in the settings' folder, the cache, the folder of Debian's package
`dataset-fashion-mnist`, and at last torchvision's download. No file is used whose content is not
what CHECKSUMS says; a damaged one is named and the next place is tried.
"""

import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fmx_ml.data.download import DownloadError, download
from fmx_ml.data.sources import DataSources, FullData, Pictures
from fmx_ml.errors import DataUnavailableError
from fmx_ml.specs import IMAGE_SIDE

logger = logging.getLogger(__name__)

SYSTEM_DIR = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist

# sha256 of the four files unpacked: packers differ in the .gz, the content is one. Computed from
# Debian's package 0.0~git20200523.55506a9-1; the same content packed with the header of the
# original release has the MD5 sums that torchvision publishes (a test packs and compares them).
CHECKSUMS = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_IMAGES_HEADER_BYTES, _LABELS_HEADER_BYTES = 16, 8  # IDX: magic number, then one size an axis
_MAX_CONTENT_BYTES = _IMAGES_HEADER_BYTES + 60_000 * IMAGE_SIDE * IMAGE_SIDE  # the largest file


def load(sources: DataSources) -> FullData:
    """The verified data set from the first place that has it whole.

    Raises:
        DataUnavailableError: no place has it; the text says why, and what helps.
    """
    problems: list[str] = []
    for place in _places(sources):
        contents = _read_place(place, problems)
        if contents is not None:
            return _parse(contents, source=str(place))
    contents = _download(sources, problems)
    if contents is not None:
        return _parse(contents, source=f"torchvision's download, kept in {sources.cache_dir}")
    raise DataUnavailableError(_advice(problems))


def _places(sources: DataSources) -> Iterator[Path]:
    if sources.dataset_dir is not None:
        yield sources.dataset_dir
    yield sources.cache_dir
    yield SYSTEM_DIR


def _download(sources: DataSources, problems: list[str]) -> dict[str, bytes] | None:
    if not sources.download:
        problems.append("download: switched off")
        return None
    try:
        download(sources.cache_dir, sources.timeout_seconds)
    except DownloadError as error:
        problems.append(f"download: {error}")
        return None
    return _read_place(sources.cache_dir, problems)


def _read_place(place: Path, problems: list[str]) -> dict[str, bytes] | None:
    """The verified content of the four files, or None with the reason added to the problems."""
    contents: dict[str, bytes] = {}
    for name in CHECKSUMS:
        content = _read_verified(place, name, problems)
        if content is None:
            return None
        contents[name] = content
    return contents


def _read_verified(place: Path, name: str, problems: list[str]) -> bytes | None:
    """The content of one file: unpacked or .gz, in the folder or in torchvision's layout."""
    candidates = [
        folder / file
        for folder in (place, place / "FashionMNIST" / "raw", place / "raw")
        for file in (name, f"{name}.gz")
    ]
    found = [path for path in candidates if _is_file(path)]
    for path in found:
        problem, content = _read(path)
        if problem is None and hashlib.sha256(content).hexdigest() == CHECKSUMS[name]:
            return content
        damage = f"{path} is damaged: {problem or 'its checksum is wrong'}"
        logger.warning("%s", damage)
        problems.append(damage)
    if not found:
        problems.append(f"{place}: no {name}")
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way may not be entered
        return False


def _read(path: Path) -> tuple[str | None, bytes]:
    """The unpacked content of a file, at most one byte more than a good one has."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            return None, file.read(_MAX_CONTENT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        return str(error), b""


def _parse(contents: dict[str, bytes], *, source: str) -> FullData:
    return FullData(
        train=_pictures(contents["train-images-idx3-ubyte"], contents["train-labels-idx1-ubyte"]),
        test=_pictures(contents["t10k-images-idx3-ubyte"], contents["t10k-labels-idx1-ubyte"]),
        source=source,
        checksums=dict(CHECKSUMS),
    )


def _pictures(images: bytes, labels: bytes) -> Pictures:
    pixels = np.frombuffer(images, dtype=np.uint8, offset=_IMAGES_HEADER_BYTES)
    return Pictures(
        images_NHW=pixels.reshape(-1, IMAGE_SIDE, IMAGE_SIDE),
        labels_N=np.frombuffer(labels, dtype=np.uint8, offset=_LABELS_HEADER_BYTES).astype(
            np.int64
        ),
    )


def _advice(problems: list[str]) -> str:
    return (
        "Fashion-MNIST can't be had. One of three things helps: set FMX_DATASET_DIR to a folder "
        "with its four files, install the Debian package dataset-fashion-mnist, or give network "
        f"access for the download. Tried: {'; '.join(problems)}."
    )
