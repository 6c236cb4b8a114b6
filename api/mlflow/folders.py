"""A job's files as folders, which mlflow's clients walk through."""

from collections.abc import Sequence

from api.mlflow.schemas import FileInfo
from fmx_store import artifacts
from fmx_store.errors import NotFoundError
from fmx_store.tables import Artifact
from fmx_store.viewers import Record


def list_folder(record: Record, job_id: str, folder: str) -> list[FileInfo]:
    """What lies in a folder of a job, by name; a file is a folder of itself. Raises NotFoundError.

    A folder that is not there is empty: the clients ask for what may come yet.
    """
    found = artifacts.list_artifacts(record, job_id)
    folder = folder.strip("/")
    files = [_describe(one) for one in found if one.path == folder]
    return files or _children(found, f"{folder}/" if folder else "")


def _children(found: Sequence[Artifact], prefix: str) -> list[FileInfo]:
    children: dict[str, FileInfo] = {}
    for artifact in found:
        if artifact.path.startswith(prefix):
            name, slash, _ = artifact.path.removeprefix(prefix).partition("/")
            folder = FileInfo(path=f"{prefix}{name}", is_dir=True)
            children[name] = folder if slash else _describe(artifact)
    return list(children.values())


def _describe(artifact: Artifact) -> FileInfo:
    return FileInfo(path=artifact.path, is_dir=False, file_size=artifact.size_bytes)


def split_path(path: str) -> tuple[str, str]:
    """The id of a job, and the path within it. Raises NotFoundError for a path that leads out."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts or ".." in parts:
        raise NotFoundError("artifact", path)
    return parts[0], "/".join(parts[1:])
