"""Figures made of pictures: samples, filters, feature maps, reconstructions; and codes."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from plot_cases import NAMES, assert_readable, labels, texts, write_tensors

from fmx_ml.plots.recipes import CodeSpace, FeatureMaps, Filters, Reconstructions, Samples
from fmx_ml.plots.render import draw
from fmx_ml.plots.samples import lay_out
from fmx_ml.plots.tiles import lay_tiles

RNG = np.random.default_rng(0)


def draw_filters(path: Path, shape: tuple[int, ...], *, per_channel: int | None = None) -> Figure:
    weights = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 7
    file = write_tensors(path / "weights", **{"conv2.weight": weights})
    return draw(
        Filters(
            title="Title", subtitle="Subtitle", weights=file, layer="conv2", per_channel=per_channel
        )
    )


def pictures(figure: Figure) -> list[NDArray[np.float32]]:
    shown = [image.get_array() for axes in figure.axes for image in axes.images]
    return [np.ma.getdata(array) for array in shown if array is not None]


def draw_maps(path: Path, count: int = 6, **layers: NDArray[np.float32]) -> Figure:
    images = RNG.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    file = write_tensors(path / "maps", images=images, **layers)
    return draw(
        FeatureMaps(
            title="Title", subtitle="Subtitle", maps=file, index=1, layers=list(layers), count=count
        )
    )


def draw_codes(path: Path, codes_N2: NDArray[np.float32], labels_N: NDArray[np.int64]) -> Figure:
    file = write_tensors(path / "codes", codes=codes_N2, labels=labels_N)
    return draw(
        CodeSpace(
            title="Title", subtitle="Subtitle", path=file, names=NAMES, x_label="x", y_label="y"
        )
    )


def test_tiles_lie_in_rows_and_columns_with_gaps() -> None:
    tiles = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    sheet = lay_tiles(tiles, 1)
    assert sheet.shape == (5, 8)
    assert np.array_equal(sheet[3:, 6:], tiles[1, 2])
    assert np.isnan(sheet[2]).all()
    assert np.isnan(sheet[:, 2]).all()


def test_samples_are_the_first_of_each_class(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    classes = np.arange(40) % 4
    sheet = lay_out(images, classes, 4)
    for label in range(4):
        for column in range(8):
            top, left = 31 * label, 31 * column
            tile = sheet[top : top + 28, left : left + 28]
            assert np.array_equal(tile, images[4 * column + label])
    assert (sheet[28:31] == 255).all()
    file = write_tensors(tmp_path / "test-set", images=images, labels=classes)
    figure = draw(Samples(title="Title", subtitle="Subtitle", test_set=file, names=NAMES[:4]))
    assert_readable(figure)
    assert labels(figure.axes[0], "y") == list(NAMES[:4])
    assert np.array_equal(pictures(figure)[0], sheet)


def test_a_class_with_few_pictures_leaves_white() -> None:
    sheet = lay_out(np.zeros((3, 28, 28), dtype=np.uint8), np.array([0, 0, 1]), 2)
    assert (sheet[:28, 59:] == 255).all()
    assert (sheet[31:, :28] == 0).all()


def test_filters_are_all_there_with_their_channels(tmp_path: Path) -> None:
    figure = draw_filters(tmp_path, (12, 6, 5, 5))
    assert_readable(figure)
    blocks = figure.axes[:-1]
    rows = [label for axes in blocks for label in labels(axes, "y")]
    assert rows == [str(number) for number in range(1, 13)]
    assert all(labels(axes, "x") == list("123456") for axes in blocks)
    values = np.concatenate([block[~np.isnan(block)] for block in pictures(figure)])
    assert sorted(values) == [number - 7 for number in range(12 * 6 * 25)]
    assert np.array_equal(pictures(figure)[0][:5, 6:11], np.arange(18, 43).reshape(5, 5))


def test_some_filters_of_each_channel_are_the_first(tmp_path: Path) -> None:
    figure = draw_filters(tmp_path, (16, 12, 5, 5), per_channel=3)
    assert_readable(figure)
    assert "input channels 1 to 3 of 12" in texts(figure)
    values = np.concatenate([block[~np.isnan(block)] for block in pictures(figure)])
    assert len(values) == 16 * 3 * 25
    assert values.max() == 15 * 12 * 25 + 3 * 25 - 1 - 7


def test_a_layer_has_one_scale_with_zero_in_its_middle(tmp_path: Path) -> None:
    figure = draw_filters(tmp_path, (16, 2, 3, 3))
    images = [image for axes in figure.axes[:-1] for image in axes.images]
    assert len(images) > 1
    assert {image.get_clim() for image in images} == {(-280.0, 280.0)}
    assert labels(figure.axes[-1], "y") == ["\N{MINUS SIGN}2.8e+02", "0", "+2.8e+02"]
    assert images[0].cmap(0.5)[:3] == pytest.approx(to_rgb("white"), abs=0.01)


@pytest.mark.parametrize(
    "shape", [(6, 1, 5, 5), (1, 1, 1, 1), (1, 30, 3, 3), (64, 1, 3, 3), (24, 16, 5, 5)]
)
def test_filters_of_any_number_are_readable(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert_readable(draw_filters(tmp_path, shape))


def test_more_filters_than_can_be_seen_are_cut_and_the_figure_says_so(tmp_path: Path) -> None:
    figure = draw_filters(tmp_path, (256, 192, 3, 3))
    assert_readable(figure)
    assert "output channels 1 to 60 of 256 and input channels 1 to 40 of 192" in texts(figure)


def test_weights_that_are_all_zero_have_a_scale(tmp_path: Path) -> None:
    file = write_tensors(tmp_path / "w", **{"conv1.weight": np.zeros((6, 1, 5, 5), np.float32)})
    figure = draw(Filters(title="Title", subtitle="", weights=file, layer="conv1"))
    assert_readable(figure)
    assert figure.axes[0].images[0].get_clim() == (-1, 1)


def test_feature_maps_are_a_row_a_layer_beside_their_picture(tmp_path: Path) -> None:
    conv1 = RNG.random((2, 6, 28, 28), dtype=np.float32)
    conv2 = RNG.random((2, 12, 14, 14), dtype=np.float32)
    figure = draw_maps(tmp_path, conv1=conv1, conv2=conv2)
    assert_readable(figure)
    shown = pictures(figure)
    assert len(shown) == 1 + 6 + 6
    assert shown[0].shape == (28, 28)
    assert np.array_equal(shown[1], conv1[1, 0])
    assert np.array_equal(shown[7], conv2[1, 0])
    found = texts(figure)
    for text in ("conv1", "6 maps,\n28 x 28", "conv2", "12 maps,\n14 x 14", "map 1"):
        assert text in found


def test_maps_of_a_layer_share_a_scale_from_zero(tmp_path: Path) -> None:
    conv1 = RNG.random((2, 8, 5, 5), dtype=np.float32)
    figure = draw_maps(tmp_path, count=4, conv1=conv1)
    limits = {image.get_clim() for axes in figure.axes[1:] for image in axes.images}
    assert limits == {(0, float(conv1[1, :4].max()))}


def test_a_dead_layer_is_black(tmp_path: Path) -> None:
    figure = draw_maps(tmp_path, conv1=np.zeros((2, 6, 9, 9), np.float32))
    assert_readable(figure)
    image = figure.axes[1].images[0]
    assert image.get_clim() == (0, 1)
    assert image.cmap(image.norm(pictures(figure)[1].max()))[:3] == (0, 0, 0)


@pytest.mark.parametrize(("count", "num_layers"), [(1, 1), (3, 8), (20, 2)])
def test_any_number_of_maps_and_layers_is_readable(
    tmp_path: Path, count: int, num_layers: int
) -> None:
    maps = RNG.random((2, 512, 4, 4), dtype=np.float32)
    layers = {f"conv{number}": maps for number in range(1, num_layers + 1)}
    assert_readable(draw_maps(tmp_path, count=count, **layers))


def test_reconstructions_lie_below_their_originals(tmp_path: Path) -> None:
    originals = RNG.random((30, 28, 28), dtype=np.float32)
    classes = np.concatenate([np.repeat(np.arange(9), 3), [9], [0, 0]])
    path = write_tensors(
        tmp_path / "pairs", originals=originals, reconstructions=originals / 2, labels=classes
    )
    figure = draw(Reconstructions(title="Title", subtitle="Subtitle", path=path, names=NAMES))
    assert_readable(figure)
    assert [labels(axes, "y")[0] for axes in figure.axes] == list(NAMES)
    sheet = pictures(figure)[2]
    assert np.array_equal(sheet[:28, 29:57], originals[7])
    assert np.array_equal(sheet[29:, 29:57], originals[7] / 2)
    alone = pictures(figure)[9]
    assert np.isnan(alone[:28, 29:]).all()


def test_a_code_space_has_a_dot_a_picture_and_a_marker_a_class(tmp_path: Path) -> None:
    classes = np.arange(200) % 10
    codes = RNG.normal(size=(200, 2)).astype(np.float32) + classes[:, None]
    figure = draw_codes(tmp_path, codes, classes)
    assert_readable(figure)
    axes = figure.axes[0]
    assert len(np.asarray(axes.collections[0].get_offsets())) == 200
    medians = np.array([line.get_xydata()[0] for line in axes.lines])  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
    assert np.allclose(medians[3], np.median(codes[classes == 3], axis=0))
    assert len({line.get_color() for line in axes.lines}) == 10
    assert len({str(line.get_marker()) for line in axes.lines}) == 10
    assert set(NAMES) <= set(texts(figure).splitlines())
    dots = np.asarray(axes.collections[0].get_offsets())
    colours = axes.collections[0].get_facecolors()  # pyright: ignore[reportAttributeAccessIssue]
    first = int(np.flatnonzero((dots == codes[13]).all(axis=1))[0])
    assert colours[first][:3] == pytest.approx(to_rgb(str(axes.lines[3].get_color())))


def test_a_collapsed_code_and_a_lone_class_can_be_drawn(tmp_path: Path) -> None:
    figure = draw_codes(tmp_path, np.zeros((5, 2), np.float32), np.full(5, 4))
    assert_readable(figure)
    assert len(figure.axes[0].lines) == 1
    assert "Coat" in texts(figure)
    assert "Bag" not in texts(figure)


def test_no_codes_are_said_to_be_none(tmp_path: Path) -> None:
    figure = draw_codes(tmp_path, np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
    assert "nothing to show" in texts(figure)
