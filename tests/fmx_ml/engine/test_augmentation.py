import pytest
import torch
from ml_cases import SmallExamples
from torch import Tensor

from fmx_ml.engine.augmentation import augment, flip, shift
from fmx_ml.engine.evaluate import Examples
from fmx_ml.specs import Augmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(examples: SmallExamples) -> Tensor:
    return examples.train.images_NCHW[:400]


def test_flipped_pictures_are_mirrored_and_the_others_untouched(images: Tensor) -> None:
    flipped = flip(images, generator())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, images, strict=True)]
    untouched = [torch.equal(a, b) for a, b in zip(flipped, images, strict=True)]
    assert all(one or other for one, other in zip(mirrored, untouched, strict=True))
    assert 160 < sum(mirrored) < 240


def test_shifted_pictures_are_moved_and_black_comes_in(images: Tensor) -> None:
    shifted = shift(images, 2, generator())
    assert shifted.shape == images.shape
    canvas = torch.full((1, 32, 32), -1.0)
    found: dict[tuple[int, int], int] = {}
    for ours, image in zip(shifted, images, strict=True):
        canvas[:, 2:30, 2:30] = image
        places = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if torch.equal(ours, canvas[:, row : row + 28, column : column + 28])
        ]
        assert len(places) == 1
        found[places[0]] = found.get(places[0], 0) + 1
    assert len(found) == 25  # every move, from 2 up and left to 2 down and right
    assert max(found.values()) < 40


def test_what_is_taken_follows_from_the_seed(examples: SmallExamples) -> None:
    wanted, rows = Augmentation(flip=True, shift=3), torch.arange(100)
    before = torch.get_rng_state()
    first, again, other = (augment(examples.train, wanted, seed) for seed in (1, 1, 2))
    images, labels = first.take(rows)
    assert torch.equal(again.take(rows)[0], images)
    assert not torch.equal(other.take(rows)[0], images)
    assert not torch.equal(first.take(rows)[0], images)  # each step anew
    assert torch.equal(labels, examples.train.labels_N[:100])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_pictures_themselves_are_left_as_they_are(examples: SmallExamples) -> None:
    before = examples.train.images_NCHW.clone()
    augment(examples.train, Augmentation(flip=True, shift=3), 0).take(torch.arange(100))
    assert torch.equal(examples.train.images_NCHW, before)


def test_nothing_to_do_is_nothing_done(examples: SmallExamples) -> None:
    assert augment(examples.train, Augmentation(), 0) is examples.train


@pytest.mark.parametrize(
    "wanted", [Augmentation(flip=True), Augmentation(shift=1)], ids=["flip", "shift"]
)
def test_each_part_works_alone(wanted: Augmentation) -> None:
    """A lone pixel tells what happened: it moves by one at most, or to the other side."""
    images = torch.full((64, 1, 28, 28), -1.0)
    images[:, 0, 10, 5] = 1.0
    taken, _ = augment(Examples(images, torch.zeros(64, dtype=torch.int64)), wanted, 0).take(
        torch.arange(64)
    )
    places = {(int(place[2]), int(place[3])) for place in (taken > 0).nonzero()}
    if wanted.flip:
        assert places == {(10, 5), (10, 22)}
    else:
        assert places == {(row, column) for row in (9, 10, 11) for column in (4, 5, 6)}
