import numpy as np
import pytest
import torch
from ml_cases import SmallExamples

from fmx_ml.engine.evaluate import BATCH_SIZE, Examples
from fmx_ml.engine.reconstruction import (
    ConstantErrors,
    Reconstruction,
    count_dead_units,
    has_collapsed,
    measure_constants,
    project_codes,
)
from fmx_ml.models import build_autoencoder
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.specs import AutoencoderSpec


def make() -> Autoencoder:
    return build_autoencoder(AutoencoderSpec(), torch.Generator().manual_seed(0))


def never() -> None:
    """No stop is asked for."""


def test_the_loss_is_the_mean_square_of_a_pixels_error(examples: SmallExamples) -> None:
    model, images = make(), examples.train.images_NCHW[:7]
    loss, hits = Reconstruction().loss(model, images, examples.train.labels_N[:7])
    errors = model(images).detach().numpy() - images.numpy().reshape(7, 784)
    assert loss.item() == pytest.approx(float((errors**2).mean()), rel=1e-5)
    assert hits is None


def test_what_is_measured_counts_every_picture_alike(examples: SmallExamples) -> None:
    """1,500 pictures are a batch and a half."""
    model = make()
    assert len(examples.train) % BATCH_SIZE
    loss, accuracy = Reconstruction().measure(model, examples.train, never)
    with torch.no_grad():
        errors = model(examples.train.images_NCHW) - examples.train.images_NCHW.flatten(1)
    assert loss == pytest.approx(errors.double().square().mean().item(), rel=1e-5)
    assert accuracy is None


def test_constant_answers(examples: SmallExamples) -> None:
    pixels = examples.train.images_NCHW.flatten(1).double().numpy()
    best = pixels.mean(0).clip(0, 1)
    found = measure_constants(examples.train, never)
    assert found.zeros == pytest.approx((pixels**2).mean())
    assert found.mean_picture == pytest.approx(((pixels - best) ** 2).mean())
    for other in (best + 0.01, best.clip(0.01, 1), np.zeros(784)):
        assert found.mean_picture < ((pixels - other.clip(0, 1)) ** 2).mean()


def test_a_unit_is_dead_that_no_picture_wakes(examples: SmallExamples) -> None:
    model, images = make(), examples.train.images_NCHW
    bias_C = model.encoders[-1].bias
    with torch.no_grad():
        bias_C.fill_(10)
        assert count_dead_units(model, examples.train, never) == 0
        bias_C[:4] = -10
        assert count_dead_units(model, examples.train, never) == 4
        sums_N = model.encode(images)[:, 9] - 10
        bias_C[9] = -sums_N.topk(2).values.mean()
    assert (model.encode(images)[:, 9] > 0).sum() == 1  # the one picture that wakes it
    assert count_dead_units(model, examples.train, never) == 4


@pytest.mark.parametrize(
    ("error", "num_dead", "collapsed"),
    [(0.5, 5, False), (0.5, 6, True), (0.989, 0, False), (0.991, 0, True), (1.2, 0, True)],
)
def test_collapse_by_hand(error: float, num_dead: int, collapsed: bool) -> None:
    constants = ConstantErrors(zeros=1.1, mean_picture=1.0)
    assert has_collapsed(error, constants, num_dead, code_size=10) is collapsed


def test_codes_in_a_plane_are_all_explained() -> None:
    rng = np.random.default_rng(0)
    plane = np.array([[0.6, 0.8, 0, 0], [0, 0, -0.28, -0.96]])
    flat = rng.standard_normal((200, 2)) * [3, 1]
    codes, explained = project_codes(torch.from_numpy(flat @ plane + 7).float())
    assert codes.shape == (200, 2)
    assert codes.dtype == explained.dtype == np.float32
    assert explained.sum() == pytest.approx(1)
    assert explained[0] > explained[1] > 0
    centred = flat - flat.mean(0)
    assert np.square(codes).sum() == pytest.approx(np.square(centred).sum(), rel=1e-4)
    assert codes.var(0) / codes.var(0).sum() == pytest.approx(explained, rel=1e-4)
    assert np.corrcoef(codes[:, 0], centred[:, 0])[0, 1] > 0.9  # the larger weight is positive


def test_codes_without_a_second_component() -> None:
    line = torch.arange(5.0)[:, None]
    codes, explained = project_codes(line)
    assert codes[:, 0].tolist() == [-2, -1, 0, 1, 2]
    assert not codes[:, 1].any()
    assert explained.tolist() == [1, 0]


def test_codes_that_are_all_dead() -> None:
    codes, explained = project_codes(torch.zeros(6, 10))
    assert not codes.any()
    assert explained.tolist() == [0, 0]


def test_examples_without_labels_of_their_own_are_enough() -> None:
    """Labels are not looked at: the same pictures with others give the same loss."""
    model, images = make(), torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    one, two = (Examples(images, torch.full((4,), label)) for label in (0, 9))
    objective = Reconstruction()
    assert objective.measure(model, one, never) == objective.measure(model, two, never)
