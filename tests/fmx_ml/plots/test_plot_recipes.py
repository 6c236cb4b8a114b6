"""Recipes are data; one drawing belongs to each of them."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from plot_cases import NAMES, assert_readable, texts, write_tensors

from fmx_ml.plots.recipes import (
    CodeSpace,
    Confusion,
    Curve,
    CurvePair,
    Curves,
    CurveSheet,
    FeatureMaps,
    Filters,
    Lines,
    Panel,
    Recipe,
    Reconstructions,
    Samples,
    Series,
)
from fmx_ml.plots.render import draw
from fmx_ml.plots.style import save


def make_recipes(folder: Path) -> list[Recipe]:
    """One of each kind, of numbers by chance."""
    rng = np.random.default_rng(0)
    loss = [Curve([1.5, 0.5, 0.2], [1.4, 0.6, 0.3], 3)]
    accuracy = [Curve([0.5, 0.9, 0.95], [0.6, 0.88, 0.92], 3)]
    labels = np.arange(40) % 10
    pictures = rng.random((40, 28, 28), dtype=np.float32)
    weights = write_tensors(
        folder / "weights", **{"conv1.weight": rng.normal(size=(6, 3, 5, 5)).astype(np.float32)}
    )
    test_set = write_tensors(
        folder / "test-set", images=(255 * pictures).astype(np.uint8), labels=labels
    )
    maps = write_tensors(
        folder / "maps", images=(255 * pictures).astype(np.uint8),
        conv1=rng.random((40, 6, 24, 24), dtype=np.float32),
    )  # fmt: skip
    pairs = write_tensors(
        folder / "pairs", originals=pictures, reconstructions=pictures**2, labels=labels
    )
    codes = write_tensors(
        folder / "codes", codes=rng.normal(size=(40, 2)).astype(np.float32), labels=labels
    )
    said: Any = {"title": "Title", "subtitle": "Subtitle"}
    axes: Any = {"x_label": "across", "y_label": "upwards"}
    return [
        Curves(**said, quantity="loss", curves=loss),
        CurvePair(**said, loss=loss, accuracy=accuracy),
        CurveSheet(**said, panels=[Panel("1: a model", loss, accuracy)]),
        Confusion(**said, counts=[[9, 1], [2, 8]], names=NAMES[:2]),
        Samples(**said, test_set=test_set, names=NAMES),
        Filters(**said, weights=weights, layer="conv1", per_channel=None),
        FeatureMaps(**said, maps=maps, index=3, layers=["conv1"]),
        Reconstructions(**said, path=pairs, names=NAMES),
        CodeSpace(**said, path=codes, names=NAMES, **axes),
        Lines(**said, **axes, series=[Series("a line", [5, 10], [[0.5, 0.6], [0.55, 0.6]])]),
    ]


def test_recipes_need_neither_numpy_nor_matplotlib() -> None:
    code = """if True:
        import sys, fmx_ml.plots.recipes
        print([name for name in ("numpy", "matplotlib", "safetensors") if name in sys.modules])"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "[]\n"


def test_every_recipe_is_drawn_readably(tmp_path: Path) -> None:
    recipes = make_recipes(tmp_path)
    assert {type(recipe) for recipe in recipes} == set(get_args(Recipe))
    for recipe in recipes:
        figure = draw(recipe)
        assert_readable(figure)
        assert {"Title", "Subtitle"} <= set(texts(figure).splitlines())


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_equal_recipes_are_equal_files(tmp_path: Path, suffix: str) -> None:
    for recipe in make_recipes(tmp_path):
        files = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
        for file in files:
            save(draw(recipe), file)
        assert files[0].read_bytes() == files[1].read_bytes(), type(recipe)
