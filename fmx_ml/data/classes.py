"""The ten classes, the two halves of them, and the one mapping between their labels.

A label is a number of 0 to 4 inside a half; a class index is Fashion-MNIST's own, 0 to 9.
"""

from fmx_ml.specs import DatasetName, Half

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)  # report, table 1

HALVES: dict[Half, tuple[int, ...]] = {
    "fm1": (0, 1, 4, 5, 8),
    "fm2": (2, 3, 6, 7, 9),
}  # report, section 0: class index of label 0, 1, … of each half


def class_name(dataset: DatasetName, class_index: int) -> str:
    """The name of a class; the stand-in's classes are patterns, so they bear no garment's name."""
    return f"synthetic {class_index}" if dataset == "synthetic" else CLASS_NAMES[class_index]


def names_of(dataset: DatasetName, half: Half) -> tuple[str, ...]:
    """The name of each label of a half."""
    return tuple(class_name(dataset, index) for index in HALVES[half])


def to_class_index(half: Half, label: int) -> int:
    """The class index behind a half's label. Raises ValueError for a label it does not have."""
    if not 0 <= label < len(HALVES[half]):
        msg = f"{half} has no label {label}"
        raise ValueError(msg)
    return HALVES[half][label]


def to_label(half: Half, class_index: int) -> int:
    """The half's label of a class index. Raises ValueError for a class of the other half."""
    if class_index not in HALVES[half]:
        msg = f"{half} has no class {class_index}"
        raise ValueError(msg)
    return HALVES[half].index(class_index)
