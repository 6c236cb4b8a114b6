"""From a recipe to its figure."""

from typing import assert_never

from matplotlib.figure import Figure

from fmx_ml.plots.code_space import draw_code_space
from fmx_ml.plots.confusion import draw_confusion
from fmx_ml.plots.curves import draw_curve_pair, draw_curves
from fmx_ml.plots.feature_maps import draw_feature_maps
from fmx_ml.plots.filters import draw_filters
from fmx_ml.plots.lines import draw_lines
from fmx_ml.plots.recipes import (
    CodeSpace,
    Confusion,
    CurvePair,
    Curves,
    CurveSheet,
    FeatureMaps,
    Filters,
    Lines,
    Recipe,
    Reconstructions,
    Samples,
)
from fmx_ml.plots.reconstructions import draw_reconstructions
from fmx_ml.plots.samples import draw_samples
from fmx_ml.plots.sheet import draw_curve_sheet
from fmx_ml.plots.style import styled


def draw(recipe: Recipe) -> Figure:
    """The figure of a recipe, to be written with `fmx_ml.plots.style.save`.

    Raises OSError, safetensors.SafetensorError, KeyError or IndexError where a file that the recipe
    names can't be read or does not hold what it says.
    """
    with styled():
        return _draw(recipe)


def _draw(recipe: Recipe) -> Figure:  # noqa: C901, PLR0911 - a line for each recipe
    match recipe:
        case Curves():
            return draw_curves(recipe)
        case CurvePair():
            return draw_curve_pair(recipe)
        case CurveSheet():
            return draw_curve_sheet(recipe)
        case Confusion():
            return draw_confusion(recipe)
        case Samples():
            return draw_samples(recipe)
        case Filters():
            return draw_filters(recipe)
        case FeatureMaps():
            return draw_feature_maps(recipe)
        case Reconstructions():
            return draw_reconstructions(recipe)
        case CodeSpace():
            return draw_code_space(recipe)
        case Lines():
            return draw_lines(recipe)
        case _:
            assert_never(recipe)
