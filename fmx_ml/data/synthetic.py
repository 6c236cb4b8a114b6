"""A stand-in for Fashion-MNIST where no copy can be had: patterns, not garments.

Each of the ten classes is a smooth random pattern. A picture shows its class's pattern, moved by
up to three pixels each way, at a random contrast, with another class's pattern shining through and
noise over it all: a small convolutional network can tell most of them apart, not every one.

Legend of shapes: N examples, H W pixels, K classes, S shifts.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from fmx_ml.data.sources import FullData, Pictures
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.specs import IMAGE_SIDE

NUM_TRAIN, NUM_TEST = 60_000, 10_000  # as Fashion-MNIST has
_NUM_CLASSES = 10
_SEED = 28  # one stand-in for all: runs differ by their own seeds
_MAX_SHIFT = 3  # pixels
_COARSE_SIDE = 5  # random values a side that a pattern is interpolated from
_CONTRAST = (0.45, 0.9)  # of a picture's own pattern
_OVERLAY = (0.0, 0.9)  # of the other pattern, as a part of its own
_NOISE = 0.22  # deviation, where pictures are 0 to 1
_CHUNK = 10_000  # pictures made at once


def make() -> FullData:
    """60,000 training and 10,000 test pictures, balanced, the same on every call."""
    patterns_KSHW = _shifted_patterns()
    train = _make_pictures(patterns_KSHW, NUM_TRAIN, "train")
    test = _make_pictures(patterns_KSHW, NUM_TEST, "test")
    return FullData(
        train=train,
        test=test,
        source="made by fmx_ml.data.synthetic",
        checksums={"train": _checksum(train), "test": _checksum(test)},
    )


def _shifted_patterns() -> NDArray[np.float32]:
    """Each class's pattern, in 0 to 1, at every shift."""
    side = IMAGE_SIDE + 2 * _MAX_SHIFT
    rng = np.random.default_rng(derive_seed(_SEED, "patterns"))
    spline = _interpolation(side)
    coarse = rng.standard_normal((_NUM_CLASSES, _COARSE_SIDE, _COARSE_SIDE))
    smooth_KHW = 1 / (1 + np.exp(-2.5 * (spline @ coarse @ spline.T)))
    shifts = [(y, x) for y in range(2 * _MAX_SHIFT + 1) for x in range(2 * _MAX_SHIFT + 1)]
    views = [smooth_KHW[:, y : y + IMAGE_SIDE, x : x + IMAGE_SIDE] for y, x in shifts]
    return np.stack(views, axis=1).astype(np.float32)


def _interpolation(side: int) -> NDArray[np.float64]:
    """The [side, coarse] matrix that spreads coarse values over pixels with smooth weights."""
    pixels = np.linspace(0, _COARSE_SIDE - 1, side)[:, None]
    weights = np.exp(-((pixels - np.arange(_COARSE_SIDE)) ** 2) / 0.5)
    return weights / weights.sum(axis=1, keepdims=True)


def _make_pictures(patterns_KSHW: NDArray[np.float32], count: int, part: str) -> Pictures:
    rng = np.random.default_rng(derive_seed(_SEED, part))
    labels_N = rng.permutation(np.arange(count) % _NUM_CLASSES)
    images_NHW = np.empty((count, IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        images_NHW[rows] = _draw(patterns_KSHW, labels_N[rows], rng)
    return Pictures(images_NHW=images_NHW, labels_N=labels_N)


def _draw(
    patterns_KSHW: NDArray[np.float32], labels_N: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.uint8]:
    count, num_shifts = len(labels_N), patterns_KSHW.shape[1]
    others_N = (labels_N + rng.integers(1, _NUM_CLASSES, count)) % _NUM_CLASSES
    contrast_N11 = rng.uniform(*_CONTRAST, (count, 1, 1)).astype(np.float32)
    overlay_N11 = rng.uniform(*_OVERLAY, (count, 1, 1)).astype(np.float32)
    images_NHW = patterns_KSHW[labels_N, rng.integers(0, num_shifts, count)]
    images_NHW += overlay_N11 * patterns_KSHW[others_N, rng.integers(0, num_shifts, count)]
    images_NHW *= contrast_N11
    images_NHW += _NOISE * rng.standard_normal(images_NHW.shape, dtype=np.float32)
    return (255 * images_NHW.clip(0, 1)).astype(np.uint8)


def _checksum(pictures: Pictures) -> str:
    content = pictures.images_NHW.tobytes() + pictures.labels_N.tobytes()
    return hashlib.sha256(content).hexdigest()
