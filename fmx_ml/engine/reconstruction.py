"""What an autoencoder makes of pictures: its error, its code, and whether it has collapsed.

Legend of shapes: N examples, B batch, C code units, H W pixels, D pixels of a picture in a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.objective import leave_gradients
from fmx_ml.models.autoencoder import Autoencoder

_GAIN = 0.01  # of the best constant picture's error: what gains less has learned no more


@dataclass(frozen=True)
class Reconstruction:
    """The mean squared error a pixel, of pictures normalised as they are given.

    The best epoch is that of the training's lowest loss, as in the report (Appendix E).
    """

    best_on: Literal["train_loss"] = "train_loss"

    def derive(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        loss, num_hits = self.loss(model, images_BCHW, labels_B)
        return leave_gradients(model, loss), num_hits

    def loss(
        self, model: nn.Module, images_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The mean of a batch; nothing is recognised, and the labels are left aside."""
        del labels_B
        return mse_loss(model(images_BCHW), images_BCHW.flatten(1)), None

    def measure(
        self, model: nn.Module, examples: Examples, check_stop: Callable[[], None]
    ) -> tuple[float, float | None]:
        """The mean of all pictures; the model is left in eval mode."""
        model.eval()
        loss_sum = torch.zeros((), dtype=torch.float64, device=examples.device)
        with torch.inference_mode():
            for images_NCHW, _ in examples.batches():
                check_stop()
                images_ND = images_NCHW.flatten(1)
                loss_sum += mse_loss(model(images_NCHW), images_ND, reduction="sum")
        return loss_sum.item() / examples.images_NCHW.numel(), None


@dataclass(frozen=True)
class ConstantErrors:
    """The mean squared error a pixel of an answer that is the same for every picture.

    `mean_picture` is that of the best such answer which a sigmoid can give: the mean picture,
    clipped to 0 to 1.
    """

    zeros: float
    mean_picture: float


def measure_constants(examples: Examples, check_stop: Callable[[], None]) -> ConstantErrors:
    """The errors of the two constant answers: what an autoencoder must get below."""
    num_pixels = examples.images_NCHW[0].numel()
    sum_D = torch.zeros(num_pixels, dtype=torch.float64, device=examples.device)
    square_sum_D = torch.zeros_like(sum_D)
    for images_NCHW, _ in examples.batches():
        check_stop()
        images_ND = images_NCHW.flatten(1).double()
        sum_D += images_ND.sum(0)
        square_sum_D += images_ND.square().sum(0)
    mean_D, square_D = sum_D / len(examples), square_sum_D / len(examples)
    best_D = mean_D.clamp(0, 1)
    return ConstantErrors(
        zeros=square_D.mean().item(),
        mean_picture=(square_D - 2 * best_D * mean_D + best_D.square()).mean().item(),
    )


def count_dead_units(model: Autoencoder, examples: Examples, check_stop: Callable[[], None]) -> int:
    """Units of the code that are 0 for every picture: they carry nothing and learn no more."""
    model.eval()
    lives_C = torch.zeros(model.encoders[-1].out_features, dtype=torch.bool, device=examples.device)
    with torch.inference_mode():
        for images_NCHW, _ in examples.batches():
            check_stop()
            lives_C |= (model.encode(images_NCHW) > 0).any(0)
    return int((~lives_C).sum().item())


def has_collapsed(
    error: float, constants: ConstantErrors, num_dead_units: int, code_size: int
) -> bool:
    """Whether an autoencoder is none: over half of its code is dead, or it is all but constant.

    The latter means an error that is not one percent below the best constant picture's.
    """
    return 2 * num_dead_units > code_size or error > (1 - _GAIN) * constants.mean_picture


def project_codes(codes_NC: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The codes' first two principal components, and the share of the variance that each explains.

    Codes [N, 2], shares [2]. A component that is not there (of a code of one unit, or where no unit
    varies) is 0. Signs are such that the unit that weighs most in a component weighs positively.
    """
    centred_NC = (codes_NC - codes_NC.mean(0, keepdim=True)).double().cpu().numpy()
    _, strengths, axes = np.linalg.svd(centred_NC, full_matrices=False)
    total = np.sum(strengths**2) or 1.0
    codes_N2, explained_2 = np.zeros((len(centred_NC), 2)), np.zeros(2)
    for number, axis_C in enumerate(axes[:2]):
        sign = np.sign(axis_C[np.abs(axis_C).argmax()])
        codes_N2[:, number] = centred_NC @ axis_C * sign
        explained_2[number] = strengths[number] ** 2 / total
    return codes_N2.astype(np.float32), explained_2.astype(np.float32)
