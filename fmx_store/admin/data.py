"""`fmx data`: register, list, show and remove data sets of one's own.

The pictures are read by another process, of the ML library: no decoder runs in this one.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from fmx_ml.specs import BUILT_IN, MAX_DATASET_NAME
from fmx_store import artifacts, datasets
from fmx_store.admin.keys import AsJson, open_record, refuse
from fmx_store.blobs import open_store
from fmx_store.errors import BlobError, ConflictError, NotFoundError
from fmx_store.settings import get_settings
from fmx_store.tables import Dataset

_NAME = re.compile("[a-z0-9][a-z0-9_.-]*")

app = typer.Typer(
    help="Look after data sets of your own, in the record that the FMX_ variables name.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="What specs will call it.")],
    idx: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of IDX files, as MNIST's.")
    ] = None,
    npz: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An NPZ file: x_train, y_train, …")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder for each class's pictures.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="The classes' names, by their labels.")
    ] = None,
    first_half: Annotated[
        str | None, typer.Option(metavar="0,1,…", help="The classes that stand in for fm1.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take pictures in under a name, which stays theirs while jobs use it."""
    _check_name(name)
    sources = {"--idx": idx, "--npz": npz, "--folder": folder}
    given = [(option, path) for option, path in sources.items() if path is not None]
    if len(given) != 1:
        raise refuse("give one of --idx, --npz and --folder", 2)
    options = [*given[0], *_optional("--labels", labels), *_optional("--first-half", first_half)]
    with tempfile.TemporaryDirectory(prefix="fmx-data-") as scratch:
        packed = Path(scratch) / "packed.safetensors"
        about = _pack([*map(str, options), "--out", str(packed)])
        with open_record() as db:
            try:
                row = datasets.register(db, open_store(get_settings()), name, packed, about)
            except (ConflictError, BlobError, OSError) as error:
                raise refuse(str(error), 1) from None
    _show(row, as_json=as_json)


def _check_name(name: str) -> None:
    if name in BUILT_IN:
        raise refuse(f"{name} is built in: choose another name", 2)
    if len(name) > MAX_DATASET_NAME or not _NAME.fullmatch(name):
        raise refuse(
            f"a name is 1 to {MAX_DATASET_NAME} of a-z, 0-9, '_', '.' and '-', the first a letter "
            "or digit",
            2,
        )


def _optional(option: str, value: str | None) -> list[str]:
    return [] if value is None else [option, value]


def _pack(options: list[str]) -> dict[str, Any]:
    """What the ML library has made of the pictures. Exits with what it says where it refuses."""
    command = [sys.executable, "-m", "fmx_ml.data", "pack", *options]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own
    if ran.returncode != 0:
        said = ran.stderr.strip().splitlines() or ["the pictures can't be read"]
        raise refuse(said[-1], ran.returncode)
    return json.loads(ran.stdout)


@app.command("list")
def list_sets(as_json: AsJson = False) -> None:
    """List the registered data sets."""
    found: list[Dataset] = []
    with open_record() as db:
        page = datasets.list_datasets(db)
        found += page.items
        while page.next_cursor is not None:
            page = datasets.list_datasets(db, cursor=page.next_cursor)
            found += page.items
    if as_json:
        typer.echo(json.dumps({"items": [_describe(row) for row in found]}, indent=2))
        return
    for row in found:
        about = row.about
        total = sum(about["train_per_class"]) + sum(about["test_per_class"])
        typer.echo(f"{row.name}  {len(about['class_names'])} classes  {total:,} pictures")


@app.command()
def show(name: str, as_json: AsJson = False) -> None:
    """Show a registered data set."""
    with open_record() as db:
        try:
            row = datasets.require_dataset(db, name)
        except NotFoundError as error:
            raise refuse(str(error), 1) from None
    _show(row, as_json=as_json)


@app.command()
def remove(name: str) -> None:
    """Remove a data set that no job uses."""
    with open_record() as db:
        try:
            file = datasets.remove(db, name)
        except (NotFoundError, ConflictError) as error:
            raise refuse(str(error), 1) from None
        artifacts.collect(db, open_store(get_settings()), [file])
    typer.echo(f"{name} removed")


def _describe(row: Dataset) -> dict[str, Any]:
    return {**row.about, "name": row.name, "sha256": row.sha256, "size_bytes": row.size_bytes}


def _show(row: Dataset, *, as_json: bool) -> None:
    about = row.about
    if as_json:
        typer.echo(json.dumps(_describe(row), indent=2))
        return
    typer.echo(f"{row.name}  sha256 {row.sha256}  {row.size_bytes:,} bytes")
    for note in about["notes"]:
        typer.echo(note)
    for index, name in enumerate(about["class_names"]):
        half = "first" if index in about["first_half"] else "second"
        train, test = about["train_per_class"][index], about["test_per_class"][index]
        typer.echo(
            f"{index:>3}  {name}  {half} half  {train:,} to learn from, {test:,} to test with"
        )
