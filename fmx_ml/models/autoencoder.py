"""The report's autoencoder (section 4.1; Appendix E).

Legend of shapes: N examples, C channels or code units, H W pixels, D pixels of a picture in a row.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from fmx_ml.models.dense import chain
from fmx_ml.specs import AutoencoderSpec


class Autoencoder(nn.Module):
    """Dense layers encoder1, encoder2, … down to a code and decoder1, decoder2, … back up.

    A relu follows each of them but the last, which a sigmoid follows: the code is never negative,
    and pictures come back within 0 to 1 whatever range they were given in. It takes float32
    pictures, [N, 1, 28, 28], and gives reconstructions, [N, 784].
    """

    def __init__(self, spec: AutoencoderSpec) -> None:
        """The layers as torch makes them; `initialise_dense` draws their weights."""
        super().__init__()
        self.encoders = chain(spec.sizes)
        self.decoders = chain(spec.sizes[::-1])
        for number, layer in enumerate(self.encoders, start=1):
            self.add_module(f"encoder{number}", layer)
        for number, layer in enumerate(self.decoders, start=1):
            self.add_module(f"decoder{number}", layer)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Reconstructions [N, D] in 0 to 1."""
        return self.decode(self.encode(images_NCHW))

    def encode(self, images_NCHW: Tensor) -> Tensor:
        """Codes [N, C], none of them negative."""
        x = images_NCHW.flatten(1)
        for layer in self.encoders:
            x = relu(layer(x))
        return x

    def decode(self, codes_NC: Tensor) -> Tensor:
        """The pictures [N, D], in 0 to 1, that codes stand for."""
        x = codes_NC
        for layer in self.decoders[:-1]:
            x = relu(layer(x))
        return self.decoders[-1](x).sigmoid()
