"""A registered data set: one safetensors file with its pictures and what its classes are.

Equal pictures, labels, names and halves make equal bytes, so the file's sha256 stands for them all.

Legend of shapes: N examples, H W pixels.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from fmx_ml.data.sources import DataSources, FullData, Pictures
from fmx_ml.errors import BadDatasetError, DataUnavailableError
from fmx_ml.specs import OwnDataset

_FORMAT, _VERSION = "fmx-dataset", 1
_PARTS = ("train", "test")


@dataclass(frozen=True)
class Contents:
    """What the file of a data set holds: pictures labelled by class index, names, one half."""

    train: Pictures
    test: Pictures
    class_names: tuple[str, ...]
    first_half: tuple[int, ...]


def serialise(contents: Contents) -> bytes:
    """The bytes of the file: equal contents, equal bytes."""
    about = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "class_names": contents.class_names,
        "first_half": contents.first_half,
    }
    # One member alone: safetensors keeps no order among several.
    metadata = {"fmx": json.dumps(about, sort_keys=True, separators=(",", ":"))}
    arrays = {
        "train_images": contents.train.images_NHW,
        "train_labels": contents.train.labels_N.astype(np.uint8),
        "test_images": contents.test.images_NHW,
        "test_labels": contents.test.labels_N.astype(np.uint8),
    }
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identify(path: Path, name: str) -> OwnDataset:
    """What a file is as a data set of a name.

    Raises:
        BadDatasetError: it is no data set's, or the name can't be one.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["fmx"])
        return OwnDataset(
            name=name,
            sha256=_digest(path),
            class_names=tuple(about["class_names"]),
            first_half=tuple(about["first_half"]),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadDatasetError(f"{path} is no data set's file: {error}") from error


def load(dataset: OwnDataset, sources: DataSources) -> FullData:
    """The pictures of a registered data set, from the file that the sources name.

    Raises:
        DataUnavailableError: the file is not there, or its bytes are not those that were learnt.
    """
    if sources.own is None:
        raise DataUnavailableError(f"the file of the data set {dataset.name!r} is not given")
    try:
        is_whole = _digest(sources.own) == dataset.sha256
        tensors = load_file(sources.own) if is_whole else {}
    except OSError as error:
        raise DataUnavailableError(
            f"the data set {dataset.name!r} can't be read: {error}"
        ) from error
    if not is_whole:
        raise DataUnavailableError(f"{sources.own} is not the data set {dataset.name!r}")
    train, test = (
        Pictures(
            images_NHW=tensors[f"{part}_images"],
            labels_N=tensors[f"{part}_labels"].astype(np.int64),
        )
        for part in _PARTS
    )
    return FullData(
        train=train,
        test=test,
        source=f"the registered data set {dataset.name}",
        checksums={f"{dataset.name}.safetensors": dataset.sha256},
    )
