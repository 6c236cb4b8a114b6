"""A network as the kernel runs it: its layers told once, its weights in one piece of memory.

Legend of shapes: B batch, C channels, H W pixels, P weights in all.
"""

import ctypes
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fmx_ml.engine.kernel.library import describe_library
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.models.cnn import Cnn
from fmx_ml.models.mlp import Mlp
from fmx_ml.specs import IMAGE_SIDE

Head = Literal["cross_entropy", "sigmoid_cross_entropy", "sigmoid_squared_error"]
_HEADS: tuple[Head, ...] = ("cross_entropy", "sigmoid_cross_entropy", "sigmoid_squared_error")
_MAX_KERNEL_SIZE = 7  # pixels a side: a filter's row lies in one register


@dataclass(frozen=True)
class Layers:
    """What the kernel must know of a network: its layers in their order, and how it ends."""

    convs: Sequence[nn.Conv2d]
    pools: Sequence[bool]
    denses: Sequence[nn.Linear]
    head: Head

    def weights(self) -> list[nn.Parameter]:
        """Each layer's weight and bias, in their order."""
        layers = (*self.convs, *self.denses)
        return [weight for layer in layers for weight in layer.parameters()]

    def layout(self, num_classes: int) -> list[int]:
        """The numbers that `fmx_network` takes."""
        kinds = [_HEADS.index(self.head), num_classes, len(self.convs), len(self.denses)]
        convs = [
            (conv.in_channels, conv.out_channels, conv.kernel_size[0], int(conv.padding[0]), pooled)
            for conv, pooled in zip(self.convs, self.pools, strict=True)
        ]
        denses = [(dense.in_features, dense.out_features) for dense in self.denses]
        return [*kinds, IMAGE_SIDE, *(number for layer in (*convs, *denses) for number in layer)]


def find_layers(model: nn.Module) -> Layers | None:
    """The layers of a network that the kernel can train; None of any other."""
    match model:
        case Cnn() if _is_plain(model):
            layers = Layers(model.convs, model.pools, model.denses, "cross_entropy")
        case Mlp():
            head = "sigmoid_cross_entropy" if model.ends_in_sigmoid else "cross_entropy"
            layers = Layers((), (), model.denses, head)
        case Autoencoder():
            denses = (*model.encoders, *model.decoders)
            layers = Layers((), (), denses, "sigmoid_squared_error")
        case _:
            return None
    return layers if all(map(_is_usual, layers.weights())) else None


def _is_plain(model: Cnn) -> bool:
    spec = model.spec
    return not (spec.batch_norm or spec.dropout) and spec.kernel_size <= _MAX_KERNEL_SIZE


def _is_usual(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.requires_grad


class Network(nn.Module):
    """A model whose weights lie in one tensor, the only parameter: one step of an optimiser.

    The model's own parameters are views of it, so that model and network stay equal whichever is
    changed; names, state and predictions are the model's. `parts` says of which of them, by name
    and shape, the tensor consists; `engine` is the library's name.
    """

    def __init__(
        self, model: nn.Module, layers: Layers, num_classes: int, library: ctypes.CDLL
    ) -> None:
        """The model's weights move into the one tensor."""
        super().__init__()
        weights = layers.weights()
        names = {weight: name for name, weight in model.named_parameters()}
        self.parts = [(names[weight], weight.shape) for weight in weights]
        self.engine = describe_library(library)
        self.weights_P = nn.Parameter(torch.cat([w.detach().flatten() for w in weights]))
        parts = self.weights_P.detach().split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.data = part.view(weight.shape)
        self._model = (model,)  # in a tuple, torch does not take its parameters for ours
        self._library = library
        self._lock = threading.Lock()  # the kernel's buffers are one call's at a time
        numbers = layers.layout(num_classes)
        self._handle = library.fmx_network((ctypes.c_int32 * len(numbers))(*numbers))
        weakref.finalize(self, library.fmx_free, self._handle)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """What the model makes of pictures."""
        return self._model[0](images_BCHW)

    def state_dict(self, *args: object, **options: object) -> dict[str, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The model's."""
        return self._model[0].state_dict(*args, **options)

    def run(
        self, images_BCHW: Tensor, labels_B: Tensor, gradient_P: Tensor | None = None
    ) -> tuple[float, int]:
        """The sum of the losses of some pictures, and how many of them were recognised.

        The gradient, where there is room for it, becomes that of the mean loss.

        Raises:
            IndexError: a label is that of no output.
        """
        images_BCHW, labels_B = images_BCHW.contiguous(), labels_B.contiguous()
        loss, hits = ctypes.c_double(), ctypes.c_int64()
        with self._lock:
            done = self._library.fmx_run(
                self._handle,
                images_BCHW.data_ptr(),
                labels_B.data_ptr(),
                len(labels_B),
                self.weights_P.data_ptr(),
                None if gradient_P is None else gradient_P.data_ptr(),
                torch.get_num_threads(),
                ctypes.byref(loss),
                ctypes.byref(hits),
            )
        if not done:
            raise IndexError("a label is that of no output")
        return loss.value, hits.value
