"""Data sets as people have them, read with care: IDX files, NPZ files, folders of pictures.

Nothing is unpickled, no more is read than a header has announced and MAX_PICTURES allow, and no
link leads out of a folder. What is wrong is said of the file that it is wrong with.

Legend of shapes: N examples, H W pixels, C channels.
"""

import gzip
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fmx_ml.data.pictures import PictureError, read_picture
from fmx_ml.data.sources import Pictures
from fmx_ml.data.squaring import Tally, square
from fmx_ml.errors import BadDatasetError

MAX_PICTURES = 1_000_000
MAX_BYTES = 2 << 30  # of the pixels of one array, before they are made 28 x 28
MAX_PICTURE_BYTES = 32 << 20  # of one file of a folder
MAX_PICTURE_PIXELS = 40_000_000
_MAX_HEADER_BYTES = 10_000  # of an array of an NPZ file

_UNSIGNED_BYTES = b"\x00\x00\x08"  # how an IDX file of them begins; the number of axes follows
_IDX_NAME = re.compile(r"(?:^|-)(train|t10k|test)-(images|labels)-idx[13]-ubyte$")
_NPZ_NAMES = {
    "x_train": "train_images", "y_train": "train_labels",
    "x_test": "test_images", "y_test": "test_labels",
    "images": "train_images", "labels": "train_labels",
}  # fmt: skip
_ROLES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Inbound:
    """What was read: 28 x 28 grey pictures, the test part if there is one, what was changed."""

    train: Pictures
    test: Pictures | None
    class_names: tuple[str, ...] | None = None
    tally: Tally = field(default_factory=Tally)


def read_idx(folder: Path) -> Inbound:
    """The pictures in a folder of IDX files (MNIST's format), packed by gzip or not.

    Raises:
        BadDatasetError: files are missing, or one is not what it says.
    """
    found: dict[str, Path] = {}
    for path in _list(folder):
        if match := _IDX_NAME.search(path.name.lower().removesuffix(".gz").replace(".", "-")):
            part = "train" if match[1] == "train" else "test"
            role = f"{part}_{match[2]}"
            if role in found:
                raise BadDatasetError(f"{found[role].name} and {path.name} are both {role}")
            found[role] = path
    _require_roles(found, f"{folder} has no file like train-images-idx3-ubyte for")
    return _assemble({role: _read_idx_file(path) for role, path in found.items()})


def _read_idx_file(path: Path) -> NDArray[np.uint8]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            start = file.read(4)
            if start[:3] != _UNSIGNED_BYTES or start[3:] not in {b"\x01", b"\x03"}:
                raise BadDatasetError(f"{path.name} is no IDX file of unsigned bytes")
            sizes = file.read(4 * start[3])
            if len(sizes) < 4 * start[3]:
                raise BadDatasetError(f"{path.name} is cut off")
            return _read_bytes(file, np.frombuffer(sizes, dtype=">u4").tolist(), path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise BadDatasetError(f"{path.name} can't be read: {error}") from error


def _read_bytes(
    file: IO[bytes] | gzip.GzipFile, shape: Sequence[int], name: str
) -> NDArray[np.uint8]:
    """The rest of a file, which is to be an array of this shape, no byte more or less."""
    size = math.prod(shape)
    if min(shape, default=-1) < 0 or shape[0] > MAX_PICTURES or size > MAX_BYTES:
        raise BadDatasetError(f"{name} announces the shape {list(shape)}, which no data set has")
    content = file.read(size)
    if len(content) < size or file.read(1):
        less = "fewer" if len(content) < size else "more"
        raise BadDatasetError(f"{name} has {less} bytes than its shape {list(shape)} needs")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def read_npz(path: Path) -> Inbound:
    """The pictures in an NPZ file: x_train, y_train, x_test and y_test, or images and labels.

    Raises:
        BadDatasetError: arrays are missing, unknown, or not what they say.
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                role = _NPZ_NAMES.get(name, name)
                if role not in _ROLES:
                    raise BadDatasetError(f"{path.name} holds {name!r}, which has no meaning here")
                if role in arrays:
                    raise BadDatasetError(f"{path.name} holds {role} twice")
                with archive.open(member) as file:
                    arrays[role] = _read_npy(file, f"{path.name}: {name}")
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise BadDatasetError(f"{path.name} can't be read: {error}") from error
    _require_roles(arrays, f"{path.name} has no array x_train, y_train, or images and labels, for")
    return _assemble(arrays)


def _read_npy(file: IO[bytes], name: str) -> NDArray[Any]:
    """One array, of whole numbers alone: what would have to be unpickled is refused."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(file, max_header_size=_MAX_HEADER_BYTES)
    except (ValueError, SyntaxError, TokenError) as error:  # what numpy's own parser raises
        raise BadDatasetError(f"{name} is no array: {error}") from error
    if dtype.kind not in "ui" or is_fortran:
        raise BadDatasetError(f"{name} holds {dtype}, not whole numbers row by row")
    raw = _read_bytes(file, (*shape, dtype.itemsize), name)
    return raw.view(dtype).reshape(shape)


def _require_roles(found: Mapping[str, Any], missing: str) -> None:
    wanted = ["train_images", "train_labels"]
    if any(role.startswith("test") for role in found):
        wanted = list(_ROLES)
    if absent := [role for role in wanted if role not in found]:
        raise BadDatasetError(f"{missing} {' and '.join(absent)}")


def _assemble(arrays: Mapping[str, NDArray[Any]]) -> Inbound:
    tally = Tally()
    parts = {
        part: Pictures(
            images_NHW=square(arrays[f"{part}_images"], f"{part}_images", tally),
            labels_N=_read_labels(arrays[f"{part}_labels"], f"{part}_labels"),
        )
        for part in ("train", "test")
        if f"{part}_images" in arrays
    }
    for part, pictures in parts.items():
        if len(pictures.images_NHW) != len(pictures.labels_N):
            raise BadDatasetError(
                f"{part}: {len(pictures.images_NHW)} pictures, {len(pictures.labels_N)} labels"
            )
    return Inbound(train=parts["train"], test=parts.get("test"), tally=tally)


def _read_labels(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Labels as they are, of any whole numbers; a column of them is a list too."""
    if array.ndim == 2 and array.shape[1] == 1:  # noqa: PLR2004 - a column
        array = array[:, 0]
    if array.ndim != 1:
        raise BadDatasetError(f"{name} has the shape {list(array.shape)}, not one label a picture")
    if len(array) and (array.max() > np.iinfo(np.int32).max or array.min() < 0):
        raise BadDatasetError(f"{name} has labels out of range")
    return array.astype(np.int64)


def read_folder(folder: Path) -> Inbound:
    """The pictures in a folder that has a folder for each class, or `train` and `test` with such.

    Raises:
        BadDatasetError: a file is no picture, a link leads out, or a class is missing somewhere.
    """
    tops = {path.name for path in _list(folder) if path.is_dir()}
    parts = ("train", "test") if tops == {"train", "test"} else ("",)
    names = _order({path.name for part in parts for path in _list(folder / part) if path.is_dir()})
    tally = Tally()
    read = [_read_part(folder, part, names, tally) for part in parts]
    return Inbound(
        train=read[0], test=read[1] if len(read) > 1 else None, class_names=names, tally=tally
    )


def _order(names: set[str]) -> tuple[str, ...]:
    """By number where all are numbers, else by name."""
    if all(re.fullmatch("[0-9]{1,9}", name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _read_part(folder: Path, part: str, names: Sequence[str], tally: Tally) -> Pictures:
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        for path in _pictures_of(folder, folder / part / name):
            if len(images) == MAX_PICTURES:
                raise BadDatasetError(f"{folder} has more than {MAX_PICTURES:,} pictures")
            images.append(_read_picture(path, tally))
            labels.append(label)
    if not images:
        raise BadDatasetError(f"{folder / part} has no pictures: a folder for each class is wanted")
    return Pictures(images_NHW=np.stack(images), labels_N=np.array(labels, dtype=np.int64))


def _pictures_of(root: Path, folder: Path) -> Iterator[Path]:
    """The files of a class by name; hidden ones are left out."""
    for path in _list(folder) if folder.is_dir() else []:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BadDatasetError(f"{path} leads out of {root}")
        if not path.is_file():
            raise BadDatasetError(f"{path} is no file: a class has its pictures in one folder")
        yield path


def _read_picture(path: Path, tally: Tally) -> NDArray[np.uint8]:
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise BadDatasetError(f"{path} has more than {MAX_PICTURE_BYTES:,} bytes")
        picture = read_picture(path.read_bytes(), MAX_PICTURE_PIXELS)
    except (OSError, PictureError) as error:
        raise BadDatasetError(f"{path}: {error}") from error
    size = (picture.height, picture.width)
    tally.count(size, is_inverted=picture.inverted, is_coloured=picture.coloured)
    return picture.pixels_HW


def _list(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without what is hidden."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise BadDatasetError(f"{folder} can't be read: {error}") from error
