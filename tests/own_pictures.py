"""Pictures of one's own, as people have them: drawn digits as IDX files, letters as PNG files."""

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_FONT_PIXELS = 22
_LETTERS = {"ant": "a", "bee": "b", "cat": "c", "dog": "d", "eel": "e"}


def draw_digits(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Light digits on dark with noise, 28 x 28, and which they are: 0 to 9 in turn."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = np.stack([_draw(str(label), rng) for label in labels])
    return images, labels


def _draw(text: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    picture = Image.new("L", (28, 28), 0)
    place = (7 + int(rng.integers(-3, 4)), 1 + int(rng.integers(-2, 3)))
    font = ImageFont.load_default(size=_FONT_PIXELS)
    ImageDraw.Draw(picture).text(place, text, fill=int(rng.integers(160, 256)), font=font)
    noisy = np.asarray(picture).astype(int) + rng.integers(0, 50, (28, 28))
    return noisy.clip(0, 255).astype(np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    """An array as an IDX file of unsigned bytes."""
    head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def write_idx(folder: Path, num_train: int = 600, num_test: int = 100) -> Path:
    """Digits in MNIST's four files, two of them packed."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (part, count) in enumerate([("train", num_train), ("t10k", num_test)]):
        images, labels = draw_digits(count, seed)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def write_folder(folder: Path, per_class: int = 30, names: Sequence[str] = tuple(_LETTERS)) -> Path:
    """Dark letters on white in colour, 40 x 32, a folder a class."""
    rng = np.random.default_rng(7)
    font = ImageFont.load_default(size=_FONT_PIXELS)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            picture = Image.new("RGB", (40, 32), "white")
            place = (12 + int(rng.integers(-5, 6)), 3 + int(rng.integers(-3, 4)))
            text = _LETTERS.get(name, name[0])
            ImageDraw.Draw(picture).text(place, text, fill=(0, 0, 90), font=font)
            picture.save(folder / name / f"{number}.png")
    return folder
