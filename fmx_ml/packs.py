"""Which trainings of a job may train together on one device (pydantic only).

A pack shares one process, one copy of the data and, where that is faster, one stack of weights.
Each of its trainings gives what it would give alone, up to rounding.
"""

from typing import Literal

from fmx_ml.trainings import Training

Hardware = Literal["cpu", "cuda"]


def pack_key(training: Training) -> str | None:
    """Trainings with equal keys may train together; None is for one that trains alone."""
    del training
    return None


def pack_limit(training: Training, hardware: Hardware) -> int:
    """How many trainings of this one's key should train together at most; 1 is alone."""
    del training, hardware
    return 1
