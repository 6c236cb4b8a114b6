"""What is done by chance to the pictures of each step of a training.

Legend of shapes: B batch, C channels, H W pixels, O offsets down and right.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.seeding import derive_seed
from fmx_ml.specs import Augmentation

_BLACK = -1.0  # the ground of pictures in -1 to 1


@dataclass(frozen=True)
class Augmented(Examples):
    """Pictures that are flipped and shifted anew whenever they are taken for a step."""

    augmentation: Augmentation
    generator: torch.Generator

    def take(self, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        images_BCHW, labels_B = super().take(rows_B)
        if self.augmentation.flip:
            images_BCHW = flip(images_BCHW, self.generator)
        if self.augmentation.shift:
            images_BCHW = shift(images_BCHW, self.augmentation.shift, self.generator)
        return images_BCHW, labels_B


def augment(examples: Examples, augmentation: Augmentation, seed: int) -> Examples:
    """The same pictures, augmented by a generator on their device; themselves for nothing to do."""
    if augmentation == Augmentation():
        return examples
    generator = torch.Generator(examples.device).manual_seed(derive_seed(seed, "augmentation"))
    return Augmented(examples.images_NCHW, examples.labels_N, augmentation, generator)


def flip(images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """The pictures, every second of them, by chance, mirrored left and right."""
    flips_B = torch.empty(len(images_BCHW), device=images_BCHW.device)
    flips_B = flips_B.bernoulli_(0.5, generator=generator).bool()
    return torch.where(flips_B[:, None, None, None], images_BCHW.flip(3), images_BCHW)


def shift(images_BCHW: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """The pictures, each moved by -most to most pixels down and right; black comes in."""
    size, _, height, width = images_BCHW.shape
    device = images_BCHW.device
    starts_OB = torch.randint(2 * most + 1, (2, size), generator=generator, device=device)
    rows_BH = starts_OB[0][:, None] + torch.arange(height, device=device)
    columns_BW = starts_OB[1][:, None] + torch.arange(width, device=device)
    padded_BHWC = pad(images_BCHW, [most] * 4, value=_BLACK).permute(0, 2, 3, 1)
    pictures_B = torch.arange(size, device=device)[:, None, None]
    moved_BHWC = padded_BHWC[pictures_B, rows_BH[:, :, None], columns_BW[:, None, :]]
    return moved_BHWC.permute(0, 3, 1, 2)
