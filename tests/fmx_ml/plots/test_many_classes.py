"""Figures of classes: of two and of sixty, with names of any length."""

from pathlib import Path

import numpy as np
import pytest
from plot_cases import assert_readable, texts, write_tensors

from fmx_ml.plots.recipes import CodeSpace, Confusion, Reconstructions, Samples
from fmx_ml.plots.render import draw
from fmx_ml.plots.style import shorten

RNG = np.random.default_rng(0)
SMALLEST = 1.5  # points in print; whoever has sixty classes enlarges the picture


def name_classes(count: int) -> list[str]:
    """Every third name is longer than an axis has room for."""
    return [f"class {n}" + " of a very long name" * (n % 3 == 2) for n in range(count)]


@pytest.mark.parametrize("count", [2, 7, 8, 12, 31])
def test_confusion_of_any_number_of_classes(count: int) -> None:
    counts = RNG.integers(0, 100, (count, count)).astype(float)
    figure = draw(
        Confusion(title="T", subtitle="S", counts=counts.tolist(), names=name_classes(count))
    )
    assert_readable(figure, SMALLEST)
    shown = texts(figure).splitlines()
    assert shown.count("class 0") == shown.count("class 1") == 2


@pytest.mark.parametrize("count", [2, 31])
def test_samples_of_any_number_of_classes(count: int, tmp_path: Path) -> None:
    images = RNG.integers(0, 255, (3 * count, 28, 28), dtype=np.uint8)
    path = write_tensors(tmp_path / "t", images=images, labels=np.arange(3 * count) % count)
    assert_readable(
        draw(Samples(title="T", subtitle="S", test_set=path, names=name_classes(count))), SMALLEST
    )


@pytest.mark.parametrize("count", [4, 10, 62])
def test_codes_of_any_number_of_classes(count: int, tmp_path: Path) -> None:
    labels = np.arange(4 * count) % count
    codes = RNG.normal(size=(4 * count, 2)).astype(np.float32)
    path = write_tensors(tmp_path / "c", codes=codes, labels=labels)
    figure = draw(
        CodeSpace(
            title="T",
            subtitle="S",
            path=path,
            names=[f"c{n}" for n in range(count)],
            x_label="x",
            y_label="y",
        )
    )
    assert_readable(figure, SMALLEST)
    lines = figure.axes[0].lines
    assert len({(line.get_color(), str(line.get_marker())) for line in lines}) == count


@pytest.mark.parametrize("count", [4, 5, 62])
def test_reconstructions_of_any_number_of_classes(count: int, tmp_path: Path) -> None:
    pictures = RNG.random((2 * count, 28, 28), dtype=np.float32)
    path = write_tensors(
        tmp_path / "r",
        originals=pictures,
        reconstructions=pictures,
        labels=np.arange(2 * count) % count,
    )
    figure = draw(Reconstructions(title="T", subtitle="S", path=path, names=name_classes(count)))
    assert_readable(figure, SMALLEST)
    assert len(figure.axes) == count


def test_long_names_are_shortened() -> None:
    assert shorten(["Ankle boot", "a name that is too long"]) == ["Ankle boot", "a name that i…"]
