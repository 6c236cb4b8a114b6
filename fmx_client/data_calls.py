"""Calls about data: registered data sets, and epochs as other tools read them."""

from pathlib import Path

from fmx_client.asking import get, pages, remove
from fmx_client.downloads import ArchiveFile, unpack
from fmx_client.paths import path_to
from fmx_client.types import Dataset
from fmx_client.wire import Call, Flow, Task, Wire


def datasets(wire: Wire, *, limit: int | None = None) -> Flow[Dataset, None]:
    """The data sets that are registered, by name."""
    return pages(wire, Dataset, path_to("datasets"), limit)


def dataset(wire: Wire, name: str) -> Task[Dataset]:
    """One registered data set."""
    return (yield from get(wire, Dataset, "datasets", name))


def remove_dataset(wire: Wire, name: str) -> Task[None]:
    """Removes a registered data set. Raises ConflictError while jobs use it."""
    yield from remove(wire, "datasets", name)


def tensorboard(wire: Wire, job_id: str, folder: Path | str) -> Task[list[Path]]:
    """Writes the epochs of a job's runs into a folder, as TensorBoard's event files."""
    with ArchiveFile(Path(folder) / ".fmx-tensorboard.zip") as file:
        call = Call("GET", path_to("jobs", job_id, "tensorboard.zip"), receiver=file)
        yield from wire.ask(call)
        return unpack(file.finish(), Path(folder))
