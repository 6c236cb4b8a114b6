"""The classes of a data set, the two halves of them, and what they are called.

A label is a number of 0 to K - 1 inside a half; a class index is the data set's own.
"""

from fmx_ml.specs import Dataset, Half, OwnDataset

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


def all_names(dataset: Dataset) -> tuple[str, ...]:
    """The name of each class; the stand-in's are patterns, so they bear no garment's name."""
    if isinstance(dataset, OwnDataset):
        return dataset.class_names
    if dataset == "synthetic":
        return tuple(f"synthetic {index}" for index in range(len(CLASS_NAMES)))
    return CLASS_NAMES


def classes_of(dataset: Dataset, half: Half) -> tuple[int, ...]:
    """The class index of each label of a half."""
    if not isinstance(dataset, OwnDataset):
        return HALVES[half]
    if half == "fm1":
        return dataset.first_half
    others = range(len(dataset.class_names))
    return tuple(index for index in others if index not in dataset.first_half)


def names_of(dataset: Dataset, half: Half) -> tuple[str, ...]:
    """The name of each label of a half."""
    names = all_names(dataset)
    return tuple(names[index] for index in classes_of(dataset, half))
