"""Makes a data set's file of people's pictures: python -m fmx_ml.data pack --idx DIR --out FILE.

Prints what it has made, as JSON. Exit status: 0 the file is there, 1 the pictures won't do (the
reason is printed), 2 wrong usage.

Legend of shapes: N examples, K classes.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fmx_ml.data.inbound import Inbound, read_folder, read_idx, read_npz
from fmx_ml.data.own import Contents, serialise
from fmx_ml.data.sources import Pictures
from fmx_ml.data.split import split_stratified
from fmx_ml.errors import BadDatasetError
from fmx_ml.specs import MAX_CLASSES, MIN_CLASSES, OwnDataset

TEST_PART = 7  # of each class one picture in seven, as the report's 5,000 beside 25,000 and 5,000
MIN_TRAIN, MIN_TEST = 6, 1  # pictures of each class, so that each part has one at least
_NOBODY = "0" * 64  # a digest for what is not stored yet


def assemble(
    inbound: Inbound, class_names: Sequence[str] | None, first_half: Sequence[int] | None
) -> Contents:
    """The contents of a data set: tests held out where there are none, classes named and halved.

    Args:
        inbound: the pictures.
        class_names: the name of each label; else the folders' names, or the labels themselves.
        first_half: the classes of the first half; else the first half of them in their order.

    Raises:
        BadDatasetError: classes are missing, too few or too many, or have too few pictures.
    """
    train, test = inbound.train, inbound.test
    if test is None:
        train, test = _hold_out(train)
    names = tuple(class_names or inbound.class_names or _number(train))
    _check_classes(train, test, names)
    half = tuple(range((len(names) + 1) // 2) if first_half is None else first_half)
    try:
        OwnDataset(name="unnamed", sha256=_NOBODY, class_names=names, first_half=half)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        message = f"{place}: {problem['msg']}" if place else problem["msg"]
        raise BadDatasetError(message) from error
    return Contents(train=train, test=test, class_names=names, first_half=half)


def _hold_out(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """The same part of each class for tests, always the same pictures."""
    kept, held_out = split_stratified(pictures.labels_N, TEST_PART, 0, "test")
    first, second = (
        Pictures(pictures.images_NHW[rows], pictures.labels_N[rows]) for rows in (kept, held_out)
    )
    return first, second


def _number(pictures: Pictures) -> list[str]:
    highest = int(pictures.labels_N.max(initial=-1))
    if highest >= MAX_CLASSES:
        raise BadDatasetError(
            f"label {highest}: there are {MAX_CLASSES} classes at most, from 0 on"
        )
    return [str(label) for label in range(highest + 1)]


def _check_classes(train: Pictures, test: Pictures, names: Sequence[str]) -> None:
    if not MIN_CLASSES <= len(names) <= MAX_CLASSES:
        raise BadDatasetError(f"{len(names)} classes: {MIN_CLASSES} to {MAX_CLASSES} are wanted")
    for part, pictures, fewest in (("train", train, MIN_TRAIN), ("test", test, MIN_TEST)):
        highest = int(pictures.labels_N.max(initial=0))
        if highest >= len(names):
            raise BadDatasetError(
                f"{part}: label {highest} is none of {len(names)} classes from 0 on"
            )
        counts_K = np.bincount(pictures.labels_N, minlength=len(names))
        for name, count in zip(names, counts_K.tolist(), strict=True):
            if count < fewest:
                raise BadDatasetError(
                    f"class {name!r} has {count} pictures in the {part} part: "
                    f"{fewest} are wanted at least"
                )


def describe(contents: Contents, packed: bytes, notes: Sequence[str]) -> dict[str, Any]:
    """What the record keeps of a data set beside its name."""
    num_classes = len(contents.class_names)
    train_K, test_K = (
        np.bincount(part.labels_N, minlength=num_classes).tolist()
        for part in (contents.train, contents.test)
    )
    return {
        "sha256": hashlib.sha256(packed).hexdigest(),
        "size_bytes": len(packed),
        "class_names": list(contents.class_names),
        "first_half": list(contents.first_half),
        "train_per_class": train_K,
        "test_per_class": test_K,
        "notes": list(notes),
    }


def main(arguments: Sequence[str]) -> int:
    """Packs what the command line names; gives back the exit status."""
    options = _parse(arguments)
    try:
        inbound = _read(options)
        contents = assemble(inbound, options.labels, options.first_half)
        packed = serialise(contents)
        options.out.write_bytes(packed)
    except (BadDatasetError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    print(json.dumps(describe(contents, packed, inbound.tally.notes())))  # noqa: T201 - as above
    return 0


def _read(options: argparse.Namespace) -> Inbound:
    if options.idx is not None:
        return read_idx(options.idx)
    return read_npz(options.npz) if options.npz is not None else read_folder(options.folder)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fmx_ml.data pack", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--idx", type=Path, metavar="DIR", help="a folder of IDX files, as MNIST's")
    source.add_argument("--npz", type=Path, metavar="FILE", help="an NPZ file: x_train, y_train, …")
    source.add_argument(
        "--folder", type=Path, metavar="DIR", help="a folder of each class's pictures"
    )
    parser.add_argument("--labels", type=_split_text, metavar="A,B,…", help="the classes' names")
    parser.add_argument(
        "--first-half", type=_split_numbers, metavar="0,1,…", help="the classes of the first half"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to make")
    return parser.parse_args(arguments)


def _split_text(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _split_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
