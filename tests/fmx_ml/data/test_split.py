from itertools import pairwise

import numpy as np
import pytest

from fmx_ml.data.split import split_stratified, take_fraction

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 4, 5, 8], 600))


def test_each_class_gives_as_many() -> None:
    train, val = split_stratified(LABELS, 6, seed=3)
    assert [int((LABELS[val] == k).sum()) for k in (0, 1, 4, 5, 8)] == [100] * 5
    assert [int((LABELS[train] == k).sum()) for k in (0, 1, 4, 5, 8)] == [500] * 5
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(LABELS)))


def test_rows_keep_their_order() -> None:
    for rows in (*split_stratified(LABELS, 6, seed=3), take_fraction(LABELS, 30, seed=3)):
        assert (np.diff(rows) > 0).all()


def test_a_seed_is_a_split() -> None:
    first, again = split_stratified(LABELS, 6, seed=3), split_stratified(LABELS, 6, seed=3)
    other = split_stratified(LABELS, 6, seed=4)
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_a_class_is_split_alike_whatever_other_classes_there_are() -> None:
    rows = np.flatnonzero(LABELS == 4)
    _, val = split_stratified(LABELS, 6, seed=3)
    _, alone = split_stratified(LABELS[rows], 6, seed=3)
    assert np.array_equal(rows[alone], val[LABELS[val] == 4])


def test_fractions_are_nested_and_balanced() -> None:
    parts = [set(take_fraction(LABELS, percent, seed=1).tolist()) for percent in range(5, 101, 5)]
    for smaller, larger in pairwise(parts):
        assert smaller < larger
    for percent, part in zip(range(5, 101, 5), parts, strict=True):
        counts = np.bincount(LABELS[sorted(part)], minlength=9)[[0, 1, 4, 5, 8]]
        assert counts.tolist() == [600 * percent // 100] * 5
    assert len(parts[-1]) == len(LABELS)


def test_fractions_depend_on_the_seed() -> None:
    one, other = take_fraction(LABELS, 10, seed=1), take_fraction(LABELS, 10, seed=2)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("percent", [0, -5, 101])
def test_fractions_out_of_range_are_refused(percent: int) -> None:
    with pytest.raises(ValueError, match=f"{percent} is not in 1 to 100"):
        take_fraction(LABELS, percent, seed=1)
