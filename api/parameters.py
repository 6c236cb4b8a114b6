"""A training as flat parameters, as the tools that compare runs want them."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

Parameter: TypeAlias = str | float | bool


def flatten_parameters(training: Mapping[str, Any]) -> dict[str, Parameter]:
    """Each value of a training by its dotted name; lists as JSON, and nothing for nulls.

    A registered data set is one parameter, its name, beside the sha256 of its contents.
    """
    flat: dict[str, Parameter] = {}
    for name, value in training.items():
        if name == "dataset" and isinstance(value, Mapping):
            registered = cast("Mapping[str, str]", value)
            flat |= {"dataset": registered["name"], "dataset_sha256": registered["sha256"]}
        elif isinstance(value, Mapping):
            inner = flatten_parameters(cast("Mapping[str, Any]", value))
            flat |= {f"{name}.{key}": part for key, part in inner.items()}
        elif isinstance(value, str | int | float):  # a bool is an int
            flat[name] = value
        elif value is not None:
            flat[name] = json.dumps(value, separators=(",", ":"))
    return flat
