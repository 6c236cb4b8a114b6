import pytest
import torch
from ml_cases import SmallExamples
from torch import nn

from fmx_ml.engine.objective import Classification


class SevenOutputs(nn.Module):
    """Seven numbers a picture where it has five classes; the last two are the largest."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        means = images_NCHW.mean((1, 2, 3))
        return torch.stack([means * k for k in (1, -1, 2, -2, 0)] + [means + 9, means + 8], 1)


def test_outputs_beyond_the_classes_count_in_the_loss_and_are_never_predicted(
    examples: SmallExamples,
) -> None:
    model, val = SevenOutputs(), examples.val
    logits = model(val.images_NCHW)
    expected = nn.CrossEntropyLoss()(logits, val.labels_N).item()
    num_right = int((logits[:, :5].argmax(1) == val.labels_N).sum())
    assert 0 < num_right < 500
    loss, hits = Classification(5).loss(model, val.images_NCHW, val.labels_N)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert hits is not None
    assert hits.item() == num_right
    measured = Classification(5).measure(model, val, lambda: None)
    assert measured == (pytest.approx(expected, rel=1e-6), num_right / 500)
