"""Server and worker run as in their containers: a read-only root, no root's user, no privilege.

A mount namespace stands in for the container, so this needs root and a kernel that gives one.
"""

import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from deploy_files import DOCKERFILES, ROOT, image_environment
from PIL import Image
from services import Column
from stack import job_of, running, submit, wait_for_end

USER = 10_001
# What is left to write to is the data folder and a /tmp in memory, as in docker-compose.yml.
CONFINE = """
set -e
data=$1 python=$2 closed=$3; shift 3
mount --bind "$data" "$data"
mount -t tmpfs tmpfs /tmp
if [ -n "$closed" ]; then
    mkdir /tmp/python
    mount --bind "$python" /tmp/python
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$python"
    mount --move /tmp/python "$python"
fi
while read -r _ point _; do
    case "$point" in
        /proc* | /sys* | /dev* | /tmp | "$data") ;;
        *) mount -o remount,bind,ro "$point" ;;
    esac
done </proc/self/mounts
exec setpriv --reuid="$USER_ID" --regid="$USER_ID" --clear-groups --no-new-privs \\
    --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def data_dir() -> Generator[Path]:
    """A data folder of the user's, outside of /tmp."""
    folder = Path(tempfile.mkdtemp(prefix="fmx-confined-", dir="/var/tmp"))
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that starts another one in confinement."""
    if os.getuid() != 0:
        pytest.skip("only root can make a root that is read-only")
    monkeypatch.setenv("USER_ID", str(USER))
    shell = ["unshare", "--mount", "--propagation", "private", "bash", "-c", CONFINE]
    place = [*shell, "confined", str(data_dir), sys.base_prefix, find_closed(sys.base_prefix)]
    tried = subprocess.run([*place, sys.executable, "-c", ""], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no confinement here: {tried.stderr.decode(errors='replace').strip()}")
    return place


def find_closed(path: str) -> str:
    """The first folder on the way to a path that nobody but its owner passes, as root's home is."""
    ways = [*reversed(Path(path).parents), Path(path)]
    return next((str(way) for way in ways if not way.stat().st_mode & stat.S_IXOTH), "")


def can(place: list[str], code: str) -> bool:
    command = [*place, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def check_the_confinement(place: list[str], data_dir: Path) -> None:
    assert can(place, "import os; assert os.getuid() == os.geteuid() == 10001")
    assert can(place, f"open({str(data_dir / 'x')!r}, 'w')")
    assert can(place, "open('/tmp/x', 'w')")
    assert not can(place, f"open({str(ROOT / 'x')!r}, 'w')")
    assert not can(place, "open('/var/tmp/x', 'w')")
    assert not can(place, "import os; os.setuid(0)")


def test_a_job_trains_and_predicts_in_confinement(place: list[str], data_dir: Path) -> None:
    check_the_confinement(place, data_dir)
    image = image_environment(DOCKERFILES[0])
    given = {"PYTHONSAFEPATH": image["PYTHONSAFEPATH"], "PYTHONPATH": str(ROOT)}
    column = Column("confined", {**given, "HOME": str(data_dir), "FMX_DATA_DIR": str(data_dir)})
    environment = column.process_environment(port=0, worker_device="cpu")
    with running(["migrations", "upgrade"], environment, place) as migrating:
        assert migrating.popen.wait(60) == 0, migrating.lines
    with (
        running(["api"], environment, place) as api,
        running(["worker"], environment, place) as worker,
    ):
        url = api.wait_for(r"listens on (http://\S+)")[1]
        with httpx.Client(base_url=url, timeout=30) as client:
            spec = {"dataset": "synthetic", "max_epochs": 1, "batch_size": 1000}
            job_id = submit(client, spec=spec)
            body = wait_for_end(client, job_id)
            assert body["state"] == "succeeded", (body, worker.lines)
            (model,) = job_of(client, job_id)["models"]
            path = f"/v1/models/{model}/predict"
            answer = client.post(path, files={"files": ("large.png", noise(2000))})
            assert answer.status_code == httpx.codes.OK, answer.text
    assert not [line for line in api.lines + worker.lines if "Read-only file system" in line]


def noise(side: int) -> bytes:
    """A picture of some megabytes, more than is kept in memory on its way in."""
    buffer = io.BytesIO()
    Image.frombytes("L", (side, side), os.urandom(side * side)).save(buffer, "PNG")
    return buffer.getvalue()
