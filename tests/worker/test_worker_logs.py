"""What runs print can be read while they run, whatever ends them; and their story goes on."""

import re
import signal
from pathlib import Path

from listening import Heard, replay
from workers import CRASHES_ONCE, Record, run_worker, wait_until

from fmx_store import logs
from fmx_store.database import Database
from fmx_store.events import Cursor, read_window
from fmx_store.logs import ReadPart
from fmx_store.metrics import read_rows
from fmx_store.states import State
from worker.log_tail import MAX_PART_BYTES, LogTail

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO epoch (\d+): val_loss .*")


def parts_of(db: Database, job_id: str) -> list[ReadPart]:
    """All that is kept of a job's logs."""
    found: list[ReadPart] = []
    while page := logs.read_page(db, job_id, None, found[-1].id if found else 0).parts:
        found += page
    return found


def epochs_logged(parts: list[ReadPart], attempt: int) -> list[int]:
    lines = [line for part in parts if part.attempt == attempt for line in part.text.splitlines()]
    return [int(found[1]) for line in lines if (found := LINE.fullmatch(line))]


def story_of(db: Database, job_id: str) -> list[Heard]:
    heard: list[Heard] = []
    cursor, has_more = Cursor(), True
    while has_more:
        window = read_window(db, job_id, cursor)
        heard += [Heard(str(each.cursor), each.name, dict(each.data)) for each in window.events]
        cursor, has_more = window.cursor, window.has_more
    return heard


def figures_of(record: Record, job_id: str) -> dict[str, list[list[object]]]:
    rows = {
        run.id: [list(row) for row in read_rows(record.db, run.id)] for run in record.runs(job_id)
    }
    return {run: found for run, found in rows.items() if found}


def test_a_running_log_can_be_read(record: Record) -> None:
    with run_worker(record):
        job_id = record.submit(epochs=400)
        record.wait_for_epochs(job_id, 5)
        wait_until(lambda: len(epochs_logged(parts_of(record.db, job_id), 1)) >= 5, 20, "lines")
        assert record.run(job_id).state is State.RUNNING
        texts = "".join(part.text for part in parts_of(record.db, job_id))
        assert "temporary files in" in texts


def test_the_whole_log_is_there_at_the_end(record: Record) -> None:
    with run_worker(record):
        job_id = record.submit(epochs=30)
        record.wait_for_end(job_id)
    parts = [part for part in parts_of(record.db, job_id) if part.run_name != "collation"]
    assert epochs_logged(parts, 1) == list(range(1, 31))
    assert parts[-1].text.endswith("INFO done\n")
    ends = [0, *(part.start + part.num_bytes for part in parts)]
    assert [part.start for part in parts] == ends[:-1]


def test_a_crashed_attempt_leaves_its_log_and_void_epochs(record: Record) -> None:
    with run_worker(record):
        job_id = record.submit(ml=CRASHES_ONCE, epochs=6)
        record.wait_for_end(job_id)
    parts = parts_of(record.db, job_id)
    assert epochs_logged(parts, 1) == [1, 2]
    assert epochs_logged(parts, 2) == [1, 2, 3, 4, 5, 6]
    story = story_of(record.db, job_id)
    [rewound] = [each.data for each in story if each.name == "rewound"]
    assert (rewound["attempt"], rewound["epoch"]) == (2, 0)
    assert replay(story) == figures_of(record, job_id)


def test_who_listens_while_a_worker_is_killed_hears_what_the_record_has(record: Record) -> None:
    job_id = record.submit(epochs=60, seeds=2)
    heard: list[Heard] = []
    cursor = Cursor()

    def listen() -> bool:
        nonlocal cursor
        window = read_window(record.db, job_id, cursor)
        heard.extend(Heard(str(e.cursor), e.name, dict(e.data)) for e in window.events)
        cursor = window.cursor
        return window.is_over

    with run_worker(record) as worker:
        record.wait_for_epochs(job_id, 10)
        listen()
        worker.send_to_group(signal.SIGKILL)
    with run_worker(record):
        wait_until(listen, 60, "the end")
    assert any(each.name == "rewound" for each in heard)
    assert replay(heard) == figures_of(record, job_id)
    assert replay(story_of(record.db, job_id)) == replay(heard)
    assert len(epochs_logged(parts_of(record.db, job_id), 1)) >= 10


def test_a_pack_has_a_log_for_each_run(record: Record) -> None:
    with run_worker(record, worker_pack=3):
        job_id = record.submit(epochs=5, seeds=3)
        record.wait_for_end(job_id)
    parts = parts_of(record.db, job_id)
    for name in ("seed-0", "seed-1", "seed-2"):
        mine = [part for part in parts if part.run_name == name]
        assert epochs_logged(mine, 1) == [1, 2, 3, 4, 5]
        assert "a pack of 3\n" in "".join(part.text for part in mine)


def test_a_tail_gives_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    tail = LogTail(file, 10_000)
    assert tail.read() is None
    file.write_bytes(b"one\ntwo")
    first = tail.read()
    assert first is not None
    assert (first.start, first.content) == (0, b"one\n")
    tail.forget(first)
    assert tail.read() is None
    last = tail.read(is_whole=True)
    assert last is not None
    assert (last.start, last.content) == (4, b"two")
    tail.forget(last)
    assert tail.read(is_whole=True) is None


def test_a_tail_of_a_flood_is_its_newest_lines(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(b"".join(b"line %06d\n" % number for number in range(5000)))
    tail = LogTail(file, 1000)
    found = tail.read()
    assert found is not None
    assert found.content.startswith(b"line ")
    assert found.content.endswith(b"line 004999\n")
    assert 900 < len(found.content) <= 1000
    assert found.end == file.stat().st_size


def test_a_line_without_an_end_comes_in_parts(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(b"x" * (2 * MAX_PART_BYTES + 5))
    tail = LogTail(file, 1_000_000)
    lengths: list[int] = []
    while (found := tail.read(is_whole=True)) is not None:
        lengths.append(len(found.content))
        tail.forget(found)
    assert lengths == [MAX_PART_BYTES, MAX_PART_BYTES, 5]
