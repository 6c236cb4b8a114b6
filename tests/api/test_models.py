"""Models, and predictions with real exports."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from http_service import Service, pointers, problem
from model_files import ModelFiles, png
from PIL import Image

from fmx_ml.data.classes import HALVES, names_of


def check(prediction: dict[str, Any], made: ModelFiles, row: int) -> None:
    """The prediction must be the model's own of a test row."""
    names = names_of("fashion-mnist", made.half)
    ours_K = [prediction["probabilities"][name] for name in names]
    best = int(np.argmax(made.probabilities_NK[row]))
    assert np.abs(made.probabilities_NK[row] - ours_K).max() < 1e-5
    assert prediction["label"] == names[best]
    assert prediction["class"] == HALVES[made.half][best]


def test_a_model_is_shown(shared: Service, model_id: str, made: ModelFiles) -> None:
    body = shared.get(f"/v1/models/{model_id}")
    card = json.loads(made.files["model.json"])
    assert body.pop("description") == card
    assert body == shared.get("/v1/models")["items"][0]
    assert body["classes"] == [
        {"class": 0, "label": "T-shirt/top"},
        {"class": 1, "label": "Trouser"},
        {"class": 4, "label": "Coat"},
        {"class": 5, "label": "Sandal"},
        {"class": 8, "label": "Bag"},
    ]
    assert (body["val_accuracy"], body["test_accuracy"]) == (0.5, 0.25)
    assert (body["run_name"], body["dataset"], body["kind"]) == ("seed-0", "fashion-mnist", "q1")
    links = body["links"]
    assert shared.get(links["job"])["models"] == [model_id]
    assert shared.client.get(links["onnx"]).content == made.files["model.onnx"]
    assert shared.client.get(links["weights"]).content == made.files["model.safetensors"]
    assert shared.get(links["description"]) == card
    assert links["predict"] == f"/v1/models/{model_id}/predict"


def test_models_are_paged_and_filtered(service: Service, made: ModelFiles) -> None:
    first = service.run_to_success(files=made.files, model=True, spec={"seeds": [0, 1, 2]})
    second = service.run_to_success(files=made.files, model=True)
    everything = service.get("/v1/models")["items"]
    assert [model["job"] for model in everything] == [second, first, first, first]
    page = service.get("/v1/models", limit=3)
    rest = service.get("/v1/models", limit=3, cursor=page["next_cursor"])
    assert page["items"] + rest["items"] == everything
    assert service.get("/v1/models", job=first)["items"] == everything[1:]
    assert service.get("/v1/models", job="0" * 26)["items"] == []
    answer = service.client.get("/v1/models", params={"job": "x"})
    problem(answer, 422, "invalid")
    assert pointers(answer) == ["?job"]


def test_a_list_survives_a_damaged_model(service: Service, made: ModelFiles) -> None:
    service.run_to_success(files={**made.files, "model.json": b"{}"}, model=True)
    good = service.run_to_success(files=made.files, model=True)
    first, second = service.get("/v1/models")["items"]
    assert (first["job"], len(first["classes"])) == (good, 5)
    assert second["classes"] == []
    problem(service.client.get(f"/v1/models/{second['id']}"), 500, "blob_damaged")


def test_test_rows(shared: Service, predict_path: str, model_id: str, made: ModelFiles) -> None:
    rows = [0, 199, 7, 7]
    answer = shared.client.post(predict_path, json={"test_rows": rows})
    assert answer.status_code == 200
    assert answer.json()["model"] == model_id
    names = names_of("fashion-mnist", "fm1")
    predictions = answer.json()["predictions"]
    assert len(predictions) == 4
    for prediction, row in zip(predictions, rows, strict=True):
        check(prediction, made, row)
        assert prediction["row"] == row
        assert prediction["actual"] == names[made.test.labels_N[row]]
        assert set(prediction) == {"label", "class", "probabilities", "row", "actual"}


def test_pixels(shared: Service, predict_path: str, made: ModelFiles) -> None:
    images = made.test.images_NHW[:64].tolist()
    answer = shared.client.post(predict_path, json={"images": images})
    predictions = answer.json()["predictions"]
    assert len(predictions) == 64
    for row, prediction in enumerate(predictions):
        check(prediction, made, row)
        assert set(prediction) == {"label", "class", "probabilities"}
    indented = json.dumps({"images": images}, indent=1).encode()
    headers = {"Content-Type": "application/json"}
    answer = shared.client.post(predict_path, content=indented, headers=headers)
    assert answer.json()["predictions"] == predictions


def test_two_hundred_uploads_agree_with_the_model(
    shared: Service, predict_path: str, made: ModelFiles
) -> None:
    pictures = [png(picture_HW) for picture_HW in made.test.images_NHW]
    assert len(pictures) == 200
    for start in range(0, 200, 50):
        rows = range(start, start + 50)
        files = [("files", (f"{row}.png", pictures[row], "image/png")) for row in rows]
        answer = shared.client.post(predict_path, files=files)
        assert answer.status_code == 200, answer.text
        predictions = answer.json()["predictions"]
        assert [p["file"] for p in predictions] == [f"{row}.png" for row in rows]
        for row, prediction in zip(rows, predictions, strict=True):
            check(prediction, made, row)
            members = ("width", "height", "inverted")
            assert tuple(prediction[m] for m in members) == (28, 28, False)


def test_uploads_of_other_kinds(shared: Service, predict_path: str, made: ModelFiles) -> None:
    picture = Image.fromarray(255 - made.test.images_NHW[3]).resize((280, 280))
    jpeg, webp = io.BytesIO(), io.BytesIO()
    picture.save(jpeg, "JPEG", quality=95)
    picture.resize((140, 280)).save(webp, "WEBP")
    files = [("files", ("a.jpg", jpeg.getvalue())), ("files", ("b", webp.getvalue()))]
    predictions = shared.client.post(predict_path, files=files).json()["predictions"]
    assert [p["file"] for p in predictions] == ["a.jpg", "b"]
    assert [p["inverted"] for p in predictions] == [True, True]
    assert [(p["width"], p["height"]) for p in predictions] == [(280, 280), (140, 280)]


def test_models_do_not_mix(service: Service, made: ModelFiles, other: ModelFiles) -> None:
    """Many ask two models at once."""
    paths: dict[str, ModelFiles] = {}
    for files in (made, other):
        job_id = service.run_to_success(files=files.files, model=True)
        path = f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}/predict"
        paths[path] = files

    def ask(number: int) -> tuple[str, int, httpx.Response]:
        path = list(paths)[number % 2]
        with httpx.Client(base_url=service.server.url) as client:
            return path, number, client.post(path, json={"test_rows": [number]})

    with ThreadPoolExecutor(8) as pool:
        for path, number, answer in pool.map(ask, range(80)):
            check(answer.json()["predictions"][0], paths[path], number)
    assert len(service.app.state.services.catalogue._sessions) == 2


class TestOneModelInMemory:
    """A server that keeps one model."""

    @pytest.fixture
    def settings_values(self) -> dict[str, Any]:
        return {"max_loaded_models": 1, "max_pictures": 3, "max_picture_bytes": 2000}

    def test_models_take_turns(self, service: Service, made: ModelFiles, other: ModelFiles) -> None:
        paths: list[str] = []
        for files in (made, other):
            job_id = service.run_to_success(files=files.files, model=True)
            paths.append(f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}/predict")
        for _ in range(2):
            for path, files in zip(paths, (made, other), strict=True):
                answer = service.client.post(path, json={"test_rows": [5]})
                check(answer.json()["predictions"][0], files, 5)
                assert len(service.app.state.services.catalogue._sessions) == 1

    def test_limits(self, service: Service, made: ModelFiles) -> None:
        job_id = service.run_to_success(files=made.files, model=True)
        path = f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}/predict"
        picture = made.test.images_NHW[0]
        for members in ({"test_rows": [0] * 4}, {"images": [picture.tolist()] * 4}):
            answer = service.client.post(path, json=members)
            problem(answer, 422, "invalid")
            assert pointers(answer) == [f"/{next(iter(members))}"]
        assert service.client.post(path, json={"test_rows": [0] * 3}).is_success

        small = [("files", ("x.png", png(picture)))]
        assert service.client.post(path, files=small * 3).is_success
        answer = service.client.post(path, files=small * 4)
        problem(answer, 422, "invalid")
        assert pointers(answer) == ["/files"]

        noise = np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)
        assert len(png(noise)) > 2000
        answer = service.client.post(path, files=[*small, ("files", ("big.png", png(noise)))])
        problem(answer, 413, "too_large")
        assert pointers(answer) == ["/files/1"]


BAD_REQUESTS: list[tuple[Any, list[str]]] = [
    ({}, [""]),
    ([], [""]),
    ({"images": None}, ["/images"]),
    ({"test_rows": [0], "images": [[[0] * 28] * 28]}, [""]),
    ({"rows": [0]}, ["/rows"]),
    ({"test_rows": []}, ["/test_rows"]),
    ({"test_rows": 0}, ["/test_rows"]),
    ({"test_rows": [0, -1]}, ["/test_rows/1"]),
    ({"test_rows": [200]}, ["/test_rows/0"]),
    ({"test_rows": [0, 2**70, 1, 200]}, ["/test_rows/1", "/test_rows/3"]),
    ({"test_rows": [0, "1"]}, ["/test_rows/1"]),
    ({"test_rows": [0.0]}, ["/test_rows/0"]),
    ({"test_rows": [True]}, ["/test_rows/0"]),
    ({"test_rows": [0] * 65}, ["/test_rows"]),
    ({"images": []}, ["/images"]),
    ({"images": [[]]}, ["/images/0"]),
    ({"images": [[[0] * 28] * 27]}, ["/images/0"]),
    ({"images": [[[0] * 28] * 29]}, ["/images/0"]),
    ({"images": [[[0] * 28] * 27 + [[0] * 27]]}, ["/images/0/27"]),
    ({"images": [[[0] * 28] * 27 + [[0] * 27 + [256]]]}, ["/images/0/27/27"]),
    ({"images": [[[0] * 28] * 27 + [[-1] + [0] * 27]]}, ["/images/0/27/0"]),
    ({"images": [[[0] * 28] * 27 + [[0.5] + [0] * 27]]}, ["/images/0/27/0"]),
    ({"images": [[[0] * 28] * 28, "x"]}, ["/images/1"]),
    ({"images": [[[0] * 28] * 28] * 65}, ["/images"]),
]


@pytest.mark.parametrize(("body", "places"), BAD_REQUESTS, ids=lambda value: repr(value)[:50])
def test_bad_pixels_and_rows(
    shared: Service, pictures_path: str, body: Any, places: list[str]
) -> None:
    answer = shared.client.post(pictures_path, json=body)
    problem(answer, 422, "invalid")
    assert pointers(answer) == places


def test_no_json(shared: Service, pictures_path: str) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"", b"{", b'{"test_rows": [NaN]}', b'{"test_rows": [0], "test_rows": [1]}'):
        answer = shared.client.post(pictures_path, content=body, headers=headers)
        problem(answer, 400, "bad_json")
    too_long = b'{"test_rows": [0]}' + b" " * 2_000_000
    answer = shared.client.post(pictures_path, content=too_long, headers=headers)
    problem(answer, 413, "too_large")


def test_other_media_types(shared: Service, pictures_path: str) -> None:
    for content_type in ("image/png", "application/x-www-form-urlencoded", "text/plain"):
        answer = shared.client.post(
            pictures_path, content=b"x", headers={"Content-Type": content_type}
        )
        problem(answer, 415, "unsupported_media_type")
        assert answer.headers["accept"] == "application/json, multipart/form-data"
    problem(shared.client.post(pictures_path), 415, "unsupported_media_type")


def test_a_model_whose_export_has_gone(service: Service, made: ModelFiles) -> None:
    job_id = service.run_to_success(files=made.files, model=True)
    path = f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}/predict"
    artifacts = service.get(f"/v1/jobs/{job_id}/artifacts")["items"]
    digest = next(a["sha256"] for a in artifacts if a["path"].endswith(".onnx"))
    blob = service.blobs.fetch(digest, service.folder / "copy")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    problem(service.client.post(path, json={"test_rows": [0]}), 500, "blob_damaged")
    content[-1] ^= 1
    blob.write_bytes(content)
    assert service.client.post(path, json={"test_rows": [0]}).is_success


def test_a_deleted_model_predicts_no_more(service: Service, made: ModelFiles) -> None:
    job_id = service.run_to_success(files=made.files, model=True)
    path = f"/v1/models/{service.get(f'/v1/jobs/{job_id}')['models'][0]}/predict"
    assert service.client.post(path, json={"test_rows": [0]}).is_success
    service.client.delete(f"/v1/jobs/{job_id}")
    problem(service.client.post(path, json={"test_rows": [0]}), 404, "not_found")
