"""The errors of the ML library, each with a stable `code` that the record keeps as a reason.

FmxError
├── UserError            user_error         the spec asks for what can't be done
├── DivergedError        nan_loss           a loss is no longer finite
├── OutOfMemoryError     out_of_memory      the device has no room for the training
├── DataUnavailableError data_unavailable   no verified copy of the data set can be had
├── BadDatasetError      bad_dataset        files are no data set that can be learnt from
├── ExportError          export_failed      the ONNX export disagrees with torch
└── StoppedError         stopped            the sink asked to stop; nothing went wrong
"""

from typing import ClassVar


class FmxError(Exception):
    """Base of every error this library raises on purpose."""

    code: ClassVar[str] = "user_error"


class UserError(FmxError):
    """The spec asks for what can't be done."""


class DivergedError(FmxError):
    """A loss is no longer a finite number."""

    code = "nan_loss"

    def __init__(self, epoch: int, step: int | None, loss: float) -> None:
        """Epoch and step count from 1; step is None where only the epoch is known."""
        self.epoch, self.step, self.loss = epoch, step, loss
        place = f"epoch {epoch}" if step is None else f"epoch {epoch}, step {step}"
        super().__init__(f"the loss is {loss} at {place}: try a smaller learning rate")


class OutOfMemoryError(FmxError):
    """The device has no room for the training."""

    code = "out_of_memory"


class DataUnavailableError(FmxError):
    """No verified copy of the data set can be had."""

    code = "data_unavailable"


class BadDatasetError(FmxError):
    """Files are no data set that can be learnt from."""

    code = "bad_dataset"


class ExportError(FmxError):
    """The ONNX export disagrees with the model it was made from."""

    code = "export_failed"


class StoppedError(FmxError):
    """The sink asked to stop."""

    code = "stopped"
