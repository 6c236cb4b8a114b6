"""What the manifests of jobs say of machines, versions, data and times, in words and tables.

A manifest is what was recorded at the time; members that an older one lacks are passed over.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fmx_ml.report.document import Column
from fmx_ml.report.formats import DASH, capitalise, say_words

Manifest = Mapping[str, Any]
PlainTable = tuple[str, Sequence[Column], Sequence[Sequence[str]]]  # title, columns, rows

_DATASETS = {"fashion-mnist": "Fashion-MNIST", "synthetic": "synthetic data"}
_PROPERTIES = {
    "revision": "Code revision", "python": "Python", "platform": "Platform", "cpu": "Processor",
    "cpu_count": "Processor cores", "threads": "Threads of a training",
}  # fmt: skip
_LINE, _INDENT = 88, 2  # letters of a line of JSON, and of a step to the right
_REVISION_LETTERS = 10  # tell a commit


def list_of(manifest: Manifest, name: str) -> list[Any]:
    """A list that a manifest holds; empty where it has none."""
    value = manifest.get(name)
    return list(value) if isinstance(value, list | tuple) else []


def training_seconds(manifest: Manifest) -> float:
    """The time that the runs took, one after another."""
    return sum(run.get("seconds") or 0.0 for run in list_of(manifest, "runs"))


def name_dataset(name: str) -> str:
    """The data set as a text has it."""
    return _DATASETS.get(name, name)


def describe_data(dataset: str, manifest: Manifest) -> str:
    """The data set and which halves of its classes."""
    halves = [data.get("half") for data in list_of(manifest, "data")]
    named = dict.fromkeys(half for half in halves if half)
    return ", ".join([name_dataset(dataset), *named])


def list_environments(manifests: Iterable[Manifest]) -> list[Mapping[str, Any]]:
    """Each environment once, in the order of their first appearance."""
    found: list[Mapping[str, Any]] = []
    for manifest in manifests:
        for environment in list_of(manifest, "environments"):
            if environment not in found:
                found.append(environment)
    return found


def list_machines(manifests: Sequence[Manifest]) -> list[str]:
    """Each processor, its cores, and the devices that were trained on."""
    machines = dict.fromkeys(
        _say_machine(environment)
        for environment in list_environments(manifests)
        if environment.get("cpu")
    )
    devices = dict.fromkeys(
        str(device) for manifest in manifests for device in list_of(manifest, "devices")
    )
    named = list(machines)
    if named and devices:
        named[-1] += f"; trained on {', '.join(devices)}"
    return named


def _say_machine(environment: Mapping[str, Any]) -> str:
    cores = environment.get("cpu_count")
    return f"{environment['cpu']}, {cores} cores" if cores else str(environment["cpu"])


def list_versions(manifests: Sequence[Manifest]) -> list[str]:
    """The code, Python and torch of each environment, each text once."""
    texts = (_say_versions(environment) for environment in list_environments(manifests))
    return list(dict.fromkeys(text for text in texts if text))


def _say_versions(environment: Mapping[str, Any]) -> str:
    parts: list[str] = []
    if environment.get("fmx"):
        revision = environment.get("revision")
        at = f" at {_shorten(revision)}" if revision else ""
        parts.append(f"fmx {environment['fmx']}{at}")
    named = {"python": "Python", "torch": "torch", "numpy": "numpy"}
    parts += [f"{word} {environment[key]}" for key, word in named.items() if environment.get(key)]
    return ", ".join(parts)


def _shorten(revision: str) -> str:
    """A commit's first letters, and whether files were changed."""
    commit, dash, state = revision.partition("-")
    return commit[:_REVISION_LETTERS] + dash + state


def tabulate(manifests: Sequence[Manifest]) -> dict[str, PlainTable]:
    """Environments and data files as tables, by their names; those that are empty are left out."""
    tables: dict[str, PlainTable] = {}
    if environments := list_environments(manifests):
        tables["environments"] = _tabulate_environments(environments)
    if files := _list_files(manifests):
        title = "The data files, unpacked, by their sha256"
        tables["data"] = (title, (Column("File"), Column("sha256", is_long=True)), files)
    return tables


def _tabulate_environments(environments: Sequence[Mapping[str, Any]]) -> PlainTable:
    names = dict.fromkeys(
        name for environment in environments for name, value in environment.items() if value
    )
    headings = ["Value"] if len(environments) == 1 else [
        f"Machine {i}" for i in range(1, len(environments) + 1)
    ]  # fmt: skip
    rows = [
        [_name_property(name), *(_say_value(environment.get(name)) for environment in environments)]
        for name in names
    ]
    title = "The environments that trained" if len(environments) > 1 else "The environment"
    return title, (Column("Property"), *(Column(h, is_long=True) for h in headings)), rows


def _name_property(name: str) -> str:
    return _PROPERTIES.get(name, name if name.islower() and "_" not in name
                           else capitalise(say_words(name)))  # fmt: skip


def _say_value(value: Any) -> str:
    return DASH if value is None else str(value)


def format_json(value: Any, indent: int = 0, named: str = "") -> str:
    """JSON as a person writes it: what fits into a line stands in one."""
    line = named + json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= _LINE or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + _INDENT
    if isinstance(value, dict):
        names = (f"{json.dumps(name, ensure_ascii=False)}: " for name in value)
        parts = [format_json(v, inner, name) for name, v in zip(names, value.values(), strict=True)]
    else:
        parts = [format_json(part, inner) for part in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(" " * inner + part for part in parts)
    return f"{named}{first}\n{body}\n{' ' * indent}{last}"


def _list_files(manifests: Iterable[Manifest]) -> list[tuple[str, str]]:
    files: dict[tuple[str, str], None] = {}
    for manifest in manifests:
        for data in list_of(manifest, "data"):
            checksums = data.get("checksums") or {}
            files |= dict.fromkeys((str(name), str(sum_)) for name, sum_ in checksums.items())
    return list(files)
