"""The command `fmx`: what it prints, where, and how it exits."""

import json
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import Fmx
from http_service import Service, epoch
from model_files import make_model_files, png

from fmx_store import claims, datasets

COMMANDS = [
    ["submit"],
    ["jobs"],
    ["show"],
    ["watch"],
    ["logs"],
    ["results"],
    ["artifacts", "list"],
    ["artifacts", "get"],
    ["predict"],
    ["feature-maps"],
    ["cancel"],
    ["retry"],
    ["delete"],
    ["kinds"],
    ["models"],
    ["models", "promote"],
    ["models", "aliases"],
    ["models", "unname"],
    ["datasets"],
    ["tensorboard"],
    ["doctor"],
    ["compare"],
    ["open"],
    ["version"],
]


def test_submit_prints_the_id_and_nothing_else(fmx: Fmx) -> None:
    said = fmx("submit", "q1")
    assert said.status == 0
    assert said.err == ""
    assert fmx("show", said.out.strip(), "--json").value["state"] == "queued"


def test_what_is_set_goes_into_the_spec(fmx: Fmx, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"max_epochs": 7, "model": {"dense_layers": 3}}')
    body = fmx(
        "submit",
        "q1",
        "--preset=quick",
        "--name=näme [red]",
        "--tag=a",
        "--tag=b",
        "--priority=9",
        "--time-limit=60",
        f"--spec={tmp_path / 'spec.json'}",
        "--set=model.conv_layers=1",
        "--set=optimiser.learning_rate=1e-3",
        "--set=seeds=[1, 2]",
        "--set=half=fm2",
        "--json",
    ).value
    assert (body["preset"], body["name"], body["tags"]) == ("quick", "näme [red]", ["a", "b"])
    assert (body["priority"], body["time_limit_seconds"]) == (9, 60)
    spec = body["spec"]
    assert (spec["max_epochs"], spec["seeds"], spec["half"]) == (7, [1, 2], "fm2")
    assert (spec["model"]["conv_layers"], spec["model"]["dense_layers"]) == (1, 3)
    assert spec["optimiser"]["learning_rate"] == 0.001
    assert "näme [red]" in fmx("jobs").out
    assert "näme [red]" in fmx("show", "last").out


def test_a_whole_request_may_come_from_stdin(fmx: Fmx) -> None:
    request = json.dumps({"kind": "q1", "name": "piped", "spec": {"seeds": [5]}})
    body = fmx("submit", "q1", "--spec=-", "--priority=1", "--json", stdin=request).value
    assert (body["name"], body["priority"], body["spec"]["seeds"]) == ("piped", 1, [5])


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["--set=x"], None, "'x' is not path=value"),
        (["--set=a..b=1"], None, "is not path=value"),
        (["--set=half=fm1", "--set=half.x=1"], None, "half is no object"),
        (["--spec=none.json"], None, "none.json: No such file"),
        (["--spec=-"], "{", "- is no JSON"),
        (["--spec=-"], "[1]", "holds no JSON object"),
        (["--spec=-"], '{"a": 1, "a": 2}', "given twice"),
        (["--spec=-"], '{"a": NaN}', "NaN is no number"),
        (["--spec=-"], '{"a": 1e999}', "1e999 is no number"),
        (["--spec=-"], "[" * 100_000, "- is no JSON"),
        (["--spec=-"], '{"kind": "q9"}', "asks for kind q9"),
        (["--set=sedes=[1]"], None, "/spec/sedes"),
        (["--set=seeds=[-1]"], None, "/spec/seeds/0"),
        (["--set=model.conv_layers=1e999"], None, "/spec/model/conv_layers"),
        (["--preset=huge"], None, "/preset"),
        (["--idempotency-key=ümlaut"], None, "fmx: "),
        (["--name=\udcff"], None, "not valid text"),
        (["--url=localhost:8000"], None, "is no server's address"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(
    fmx: Fmx, arguments: list[str], stdin: str | None, said: str
) -> None:
    done = fmx("submit", "q1", *arguments, stdin=stdin)
    assert done.status == 2
    assert done.out == ""
    assert said in done.err
    assert done.err.count("\n") == 1
    assert done.err.startswith("fmx: ")
    assert fmx("jobs", "--json").value == {"items": []}


@pytest.mark.parametrize(
    "arguments", [[], ["q1", "q2"], ["q1", "--no-such"], ["q1", "--priority=x"]]
)
def test_wrong_usage_is_status_2(nowhere: Fmx, arguments: list[str]) -> None:
    done = nowhere("submit", *arguments)
    assert done.status == 2
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments",
    [["predict"], ["predict", "none.png"], ["artifacts", "get", "last"], ["jobs", "--limit=0"]],
)
def test_wrong_usage_of_others_too(nowhere: Fmx, arguments: list[str]) -> None:
    assert nowhere(*arguments).status == 2


@pytest.mark.parametrize("arguments", [["jobs"], ["show", "last"], ["submit", "q1"], ["kinds"]])
def test_no_server_is_one_line_and_status_1(nowhere: Fmx, arguments: list[str]) -> None:
    done = nowhere(*arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"fmx: {nowhere.url}: no connection")
    assert "is the server running?" in done.err
    assert done.err.count("\n") == 1


def test_a_job_can_be_named_in_short(fmx: Fmx) -> None:
    assert fmx("show", "last").err == "fmx: there is no job yet\n"
    ids = [fmx("submit", "q1").out.strip() for _ in range(3)]
    for name in (ids[1], ids[1].lower(), ids[1][:-1], ids[1][-8:]):
        assert fmx("show", name, "--json").value["id"] == ids[1]
    assert fmx("show", "last", "--json").value["id"] == ids[2]
    several = fmx("show", ids[0][:3])
    assert several.status == 2
    assert several.err.startswith("fmx: 3 jobs' ids begin or end with")
    for name in ("NOSUCH", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "../kinds", "x" * 300):
        none = fmx("show", name)
        assert (none.status, none.out) == (1, ""), name
        assert none.err.count("\n") == 1


def test_jobs_are_listed_by_what_they_are(fmx: Fmx) -> None:
    first = fmx("submit", "q1", "--tag=x").out.strip()
    second = fmx("submit", "q1").out.strip()
    fmx("cancel", first)

    def ids(*arguments: str) -> list[str]:
        return [job["id"] for job in fmx("jobs", *arguments, "--json").value["items"]]

    assert ids() == [second, first]
    assert ids("--tag=x") == ids("--state=cancelled") == [first]
    assert ids("--limit=1") == [second]
    assert fmx("jobs", "--state=odd").status == 2


def test_cancel_retry_delete(fmx: Fmx) -> None:
    job_id = fmx("submit", "q1").out.strip()
    assert fmx("cancel", "last").out == f"{job_id} cancelled\n"
    again = fmx("cancel", "last")
    assert (again.status, again.out) == (1, "")
    assert fmx("retry", "last", "--json").value["state"] == "queued"
    assert fmx("delete", "last", "--json").value == {"deleted": job_id}
    assert fmx("jobs").out == "no jobs\n"


def test_results_show_ours_beside_the_published(service: Service, fmx: Fmx) -> None:
    results = {
        "kind": "q1",
        "preset": "quick",
        "dataset": "synthetic",
        "tables": [
            {
                "name": "t",
                "title": "A table",
                "columns": ["class", "recall"],
                "rows": [["[b]", 0.5]],
                "note": "A note.",
            }
        ],
        "figures": [{"number": "1", "title": "Loss", "artifacts": ["figure-1.png"]}],
        "comparisons": [
            {
                "id": "q1.accuracy.test",
                "published": 0.9816,
                "ours": {"mean": 0.98254, "std": 0.001, "n": 2, "values": [0.98154, 0.98354]},
                "interval": [0.97, 0.99],
                "verdict": "inside",
                "reason": None,
                "errata": [],
            },
            {
                "id": "q1.best_epoch",
                "published": 205.0,
                "ours": {"mean": 22.0, "std": 0.0, "n": 1, "values": [22.0]},
                "interval": None,
                "verdict": "not_comparable",
                "reason": "the preset is quick",
                "errata": [],
            },
        ],
        "errata": [],
    }
    assert fmx("results", "last").status == 1
    job_id = fmx("submit", "q1").out.strip()
    early = fmx("results", job_id)
    assert (early.status, early.out) == (1, "")
    claim = service.claim()
    service.succeed(claim, {})
    service.collate({}, results)
    assert fmx("results", "last", "--json").value == {"job": job_id, **results}
    words = " ".join(fmx("results", "last").out.split())
    assert "accuracy test 0.9816 0.9825 ± 0.0010 +0.0009 2 inside" in words
    assert "best epoch 205 22 -183 1 not comparable" in words
    assert "best epoch: the preset is quick" in words
    assert "[b] 0.5000" in words
    assert "Figure 1: Loss figure-1.png" in words
    assert "of the synthetic data set, not of Fashion-MNIST" in words


def test_artifacts_are_listed_and_got(service: Service, fmx: Fmx, tmp_path: Path) -> None:
    service.run_to_success(
        files={"a.csv": b"1,2", "b.csv": b"3"}, job_files={"figure-1.png": b"\x89PNG"}
    )
    listed = fmx("artifacts", "list", "last", "--json").value["items"]
    assert [item["path"] for item in listed] == ["figure-1.png", "seed-0/a.csv", "seed-0/b.csv"]
    assert "figure-1.png" in fmx("artifacts", "list", "last").out

    def got(*arguments: str) -> dict[str, bytes]:
        out = tmp_path / str(time.monotonic_ns())
        items = fmx("artifacts", "get", "last", *arguments, f"--out={out}", "--json").value["items"]
        assert all(Path(item["file"]) == out / item["path"] for item in items)
        files = [path for path in out.rglob("*") if path.is_file()]
        return {str(path.relative_to(out)): path.read_bytes() for path in files}

    whole = {"figure-1.png": b"\x89PNG", "seed-0/a.csv": b"1,2", "seed-0/b.csv": b"3"}
    assert got("--all") == whole
    assert got("seed-0/a.csv") == {"seed-0/a.csv": b"1,2"}
    assert set(got("seed-0/", "seed-0/a.csv")) == {"seed-0/a.csv", "seed-0/b.csv"}
    none = fmx("artifacts", "get", "last", "seed-0/c.csv", f"--out={tmp_path}")
    assert (none.status, none.err) == (1, "fmx: the job has no artifact seed-0/c.csv\n")


def test_what_can_not_be_written_is_one_line(service: Service, fmx: Fmx, tmp_path: Path) -> None:
    service.run_to_success(job_files={"f.csv": b"1"})
    (tmp_path / "file").write_text("in the way")
    done = fmx("artifacts", "get", "last", "--all", f"--out={tmp_path / 'file'}")
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert "file" in done.err


def test_no_model_is_said(fmx: Fmx) -> None:
    done = fmx("predict", "--test-row=0")
    assert done.status == 1
    assert done.err == "fmx: there is no model yet: it takes a job that succeeded\n"
    assert fmx("models").out == "no models\n"


def test_registered_data_sets_are_listed(service: Service, fmx: Fmx, tmp_path: Path) -> None:
    assert fmx("datasets").out == "no registered data sets\n"
    packed = tmp_path / "packed"
    packed.write_bytes(b"pictures")
    about = {
        "class_names": list("abcd"),
        "first_half": [0, 1],
        "train_per_class": [1000] * 4,
        "test_per_class": [50] * 4,
        "notes": [],
    }
    datasets.register(service.db, service.blobs, "letters", packed, about)
    (found,) = fmx("datasets", "--json").value["items"]
    assert found["classes"][3] == {
        "class": 3, "label": "d", "half": "fm2", "train": 1000, "test": 50,
    }  # fmt: skip
    line = fmx("datasets").out.splitlines()[-1]
    assert line.split()[:4] == ["letters", "4", "4000", "200"]


def test_epochs_are_written_for_tensorboard(service: Service, fmx: Fmx, tmp_path: Path) -> None:
    job_id = service.submit(spec={"seeds": [0, 1]})["id"]
    service.train_one()
    said = fmx("tensorboard", "last", f"--out={tmp_path / 'logs'}")
    assert (said.status, said.out.strip()) == (0, f"tensorboard --logdir {tmp_path / 'logs'}")
    folders = sorted(path.name for path in (tmp_path / "logs" / job_id).iterdir())
    assert folders == ["seed-0", "seed-1"]
    again = fmx("tensorboard", "last", f"--out={tmp_path / 'logs'}", "--json").value
    assert [Path(file).is_file() for file in again["files"]] == [True, True]


def test_feature_maps_are_drawn_into_a_file(service: Service, fmx: Fmx, tmp_path: Path) -> None:
    made = make_model_files(tmp_path, "fm1", seed=6)
    out, picture = tmp_path / "maps.png", tmp_path / "shoe.png"
    picture.write_bytes(png(made.test.images_NHW[4]))
    assert "no model yet" in fmx("feature-maps", "last", str(picture), f"--out={out}").err
    service.run_to_success(files=made.files, model=True)
    (model,) = fmx("models", "--json").value["items"]

    said = fmx("feature-maps", "last", str(picture), f"--out={out}")
    assert (said.status, said.out) == (0, f"{out}\n")
    sheet = out.read_bytes()
    assert sheet.startswith(b"\x89PNG")
    again = tmp_path / "again.png"
    by_row = ["feature-maps", model["id"], "--test-row=4", "--layers=conv1", f"--out={again}"]
    assert fmx(*by_row, "--json").value == {"model": model["id"], "file": str(again)}
    assert again.read_bytes() == sheet

    wrong = fmx("feature-maps", "last", str(picture), "--layers=conv9", f"--out={out}")
    assert (wrong.status, wrong.out) == (2, "")
    assert "'conv9' is none of conv1" in wrong.err
    assert fmx("feature-maps", "last", str(picture), f"--out={tmp_path}").status == 1
    assert out.read_bytes() == sheet


@pytest.mark.parametrize(
    "arguments", [["last"], ["last", "--out=x.png"], ["last", "none.png", "--out=x.png"]]
)
def test_feature_maps_want_a_picture_and_a_file(nowhere: Fmx, arguments: list[str]) -> None:
    done = nowhere("feature-maps", *arguments)
    assert (done.status, done.out) == (2, "")


def test_kinds_and_version(fmx: Fmx) -> None:
    assert "q1" in fmx("kinds").out
    assert "optimiser.learning_rate" in fmx("kinds", "q1").out
    assert fmx("kinds", "q1", "--json").value["schema"]["properties"]
    assert fmx("kinds", "q9").status == 1
    assert fmx("version", "--json").value["fmx"] in fmx("version").out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_json(nowhere: Fmx, command: Sequence[str]) -> None:
    said = nowhere(*command, "--help")
    assert said.status == 0
    assert "--json" in said.out


def _end(service: Service, claim: claims.Claim, how: str) -> None:
    if how == "failed":
        service.fail(claim)
    elif how == "cancelled":
        service.client.post(f"/v1/jobs/{claim.job.id}/cancel").raise_for_status()
        service.fail(claim)
    else:
        service.succeed(claim, {})
        service.collate({})


def _wait_for_job(service: Service) -> claims.Claim:
    while not service.get("/v1/jobs")["items"]:
        time.sleep(0.05)
    return service.claim()


@pytest.mark.parametrize(("how", "status"), [("succeeded", 0), ("failed", 1), ("cancelled", 130)])
@pytest.mark.parametrize("waiting", [["--watch"], ["--wait"], ["--wait", "--json"]], ids=" ".join)
def test_submit_waits_and_exits_as_the_job_ended(
    service: Service, fmx: Fmx, how: str, status: int, waiting: list[str]
) -> None:
    process = fmx.start("submit", "q1", *waiting)
    _end(service, _wait_for_job(service), how)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert err == ""
    if "--json" in waiting:
        assert json.loads(out)["state"] == how
    else:
        assert how in out
    assert fmx("watch", "last", "--json").status == status


def test_watch_shows_what_happens_while_it_happens(service: Service, fmx: Fmx) -> None:
    job_id = fmx("submit", "q1", "--preset=quick").out.strip()
    process = fmx.start("watch", job_id)
    assert process.stdout is not None
    assert "waiting for a worker" in process.stdout.readline()
    claim = service.claim()
    assert "starting" in process.stdout.readline()
    claims.record_progress(service.db, claim.lease, [epoch(1)], phase="training")
    assert "loss 1.0000 / 2.0000  accuracy - / 0.5000" in process.stdout.readline()
    claims.record_progress(service.db, claim.lease, [epoch(2), epoch(3), epoch(4)])
    assert "epoch 4 of" in process.stdout.readline()
    _end(service, claim, "succeeded")
    out, _ = process.communicate(timeout=30)
    assert out.splitlines()[-1].startswith("q1 quick  succeeded after")


def test_interrupting_a_wait_leaves_the_job(service: Service, fmx: Fmx) -> None:
    process = fmx.start("submit", "q1", "--watch")
    assert process.stdout is not None
    job_id = process.stdout.readline().strip()
    assert "waiting for a worker" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert f"the job goes on (fmx watch {job_id}, fmx cancel {job_id})" in err
    assert service.get(f"/v1/jobs/{job_id}")["state"] == "queued"


def test_interrupting_anything_else_is_quiet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = Fmx(f"http://127.0.0.1:{silent.getsockname()[1]}").start("jobs")
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(100).startswith(b"GET /v1/jobs")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert (out, err) == ("", "")


def test_a_reader_that_leaves_is_no_error(service: Service, fmx: Fmx) -> None:
    for _ in range(3):
        service.submit()
    process = fmx.start("jobs", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as errors:
        assert "Traceback" not in errors.read()
    process.wait(10)
