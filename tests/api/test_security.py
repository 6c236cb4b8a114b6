"""The holes of the field's servers, one class each, tried from outside.

Their own files hold the rest: no way in without a key (test_keys), other people's objects
(test_owners), picture bombs (test_pictures), damaged forms (test_uploads), bounds (test_limits).
"""

import contextlib
import io
import os
import pickle  # noqa: TID251 - made, to see it refused
import re
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from http_service import Service, problem, serve
from services import ROOT, Column

BLACK = [[0] * 28] * 28
SECRET = "the secret of the house"


def send(service: Service, head: str, body: bytes = b"") -> tuple[int, str]:
    """Sends a request as it is, which no client's library would; the answer's status and text."""
    host, port = service.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        lines = f"{head}\r\nConnection: close\r\n\r\n".encode("latin-1")
        connection.sendall(lines + body)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65_536):
                received += chunk
    text = received.decode("latin-1")
    return int(text.split(" ", 2)[1]), text


class TestPathTraversal:
    """MLflow CVE-2023-1177, CVE-2024-1560: a path that leads out of the store."""

    @pytest.fixture
    def job_id(self, service: Service) -> str:
        """A job with a file; beside its blobs lies a secret."""
        (service.settings.data_dir / "secret.txt").write_text(SECRET)
        return service.run_to_success(job_files={"a.txt": b"a"})

    @pytest.mark.parametrize(
        "path",
        [
            "../secret.txt",
            "../../secret.txt",
            "..%2f..%2fsecret.txt",
            "%2e%2e/%2e%2e/secret.txt",
            "..%5c..%5csecret.txt",
            "..%252f..%252fsecret.txt",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "a.txt/../../../secret.txt",
            "....//....//secret.txt",
            "a.txt%00.png",
            "file:///etc/passwd",
        ],
    )
    def test_an_artifacts_path(self, service: Service, job_id: str, path: str) -> None:
        for place in (f"/v1/jobs/{job_id}/artifacts/{path}", f"/static/{path}", f"/{path}"):
            status, text = send(service, f"GET {place} HTTP/1.1\r\nHost: 127.0.0.1")
            assert status in {400, 404}, (place, text)
            assert SECRET not in text
            assert "root:" not in text

    def test_ids_and_names_reach_no_file(self, service: Service, job_id: str) -> None:
        del job_id
        for place in (
            "/v1/jobs/..%2fsecret.txt",
            "/v1/models/..%2f..%2fsecret.txt",
            "/v2/models/..%2fsecret.txt",
            "/v1/kinds/..%2f..%2fsecret",
            "/v1/reports/report.html?jobs=../secret.txt",
        ):
            status, text = send(service, f"GET {place} HTTP/1.1\r\nHost: 127.0.0.1")
            assert status == 404, text
            assert SECRET not in text

    def test_no_module_of_the_server_joins_a_path_with_what_was_sent(self) -> None:
        """Files are opened by their sha256, and the server's own by names that it knows."""
        joins = re.compile(r"(Path\(|/ )(path|name|job_id|model_id|file_name|upload)\b")
        for file in (ROOT / "api").rglob("*.py"):
            assert not joins.search(file.read_text()), file


class TestHeaders:
    """What is sent comes back in no header that it could end."""

    def test_an_artifacts_name(self, service: Service) -> None:
        names = ["a\r\nX-Evil: 1", 'a"; x="', "a\nb", "é\u2028", "a\\b", "a;b", "%0d%0aX-Evil: 1"]
        files = {f"{name}.txt": b"x" for name in names}
        job_id = service.run_to_success(job_files=files)
        for item in service.get(f"/v1/jobs/{job_id}/artifacts")["items"]:
            answer = service.client.get(item["links"]["self"])
            assert "x-evil" not in answer.headers
            if answer.status_code == 404:  # a name of several lines has no path
                assert "\n" in item["path"]
                continue
            disposition = answer.headers["content-disposition"]
            assert re.fullmatch(
                r"attachment; filename=\"[^\"\\\r\n]*\"; filename\*=UTF-8''[\w.%~-]+", disposition
            ), disposition

    def test_what_a_client_names(self, service: Service) -> None:
        evil = "a\r\nX-Evil: 1"
        for name in ("X-Request-ID", "Idempotency-Key", "If-None-Match", "Prefer", "Accept"):
            head = f"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n{name}: b%0d%0aX-Evil: 1"
            assert "\r\nx-evil" not in send(service, head)[1].lower()
        for path in (f"/v1/{evil}", "/v1/%0d%0aX-Evil:%201", "/docs%0d%0aX-Evil:%201"):
            status, text = send(service, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1")
            assert status in {400, 404}
            assert "\r\nx-evil" not in text.lower().partition("\r\n\r\n")[0]

    def test_every_kind_of_answer_bears_them(self, service: Service) -> None:
        job_id = service.run_to_success(job_files={"a.svg": b"<svg/>", "a.html": b"<script>"})
        paths = ["/", "/docs", "/openapi.json", "/nothing", "/healthz", "/v1/jobs", "/static/x"]
        paths += [f"/v1/jobs/{job_id}/artifacts.zip", "/v1/reports/report.html"]
        paths += [f"/v1/jobs/{job_id}/artifacts/{name}?inline=true" for name in ("a.svg", "a.html")]
        for path in paths:
            headers = service.client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "sandbox" in policy or "frame-ancestors 'none'" in policy
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers

    def test_artifacts_have_fixed_types_and_are_not_shown(self, service: Service) -> None:
        """A name that the machine's own list of types knows is no type that a browser opens."""
        names = {
            "a.html": "application/octet-stream",
            "a.js": "application/octet-stream",
            "a.xhtml": "application/octet-stream",
            "a.svg": "image/svg+xml",
            "a": "application/octet-stream",
        }
        job_id = service.run_to_success(job_files=dict.fromkeys(names, b"<script>x</script>"))
        for name, media_type in names.items():
            path = f"/v1/jobs/{job_id}/artifacts/{name}"
            answer = service.client.get(path, params={"inline": "true"})
            assert answer.headers["content-type"] == media_type
            assert answer.headers["content-disposition"].startswith("attachment;")
            assert answer.headers["content-security-policy"].startswith("sandbox;")


class TestBrowsers:
    """A page of another site that asks a server on this machine (Ray CVE-2023-48022)."""

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil", "0"])
    def test_a_name_that_was_made_to_point_here(self, service: Service, host: str) -> None:
        answer = service.client.get("/v1/jobs", headers={"Host": host})
        problem(answer, 421, "foreign_host")
        path = f"/v1/models/{'0' * 26}/predict"
        answer = service.client.post(path, json={"test_rows": [0]}, headers={"Host": host})
        problem(answer, 421, "foreign_host")

    @pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:1", "[::1]:8000"])
    def test_the_names_of_this_machine(self, service: Service, host: str) -> None:
        assert service.client.get("/v1/jobs", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
    def test_a_page_of_another_site(self, service: Service, origin: str) -> None:
        job = service.submit()
        for method, path in (
            ("POST", job["links"]["cancel"]),
            ("POST", "/v1/jobs"),
            ("DELETE", job["links"]["self"]),
            ("GET", "/v1/jobs"),
        ):
            answer = service.client.request(method, path, headers={"Origin": origin})
            problem(answer, 403, "foreign_origin")
        assert service.get(job["links"]["self"])["state"] == "queued"

    def test_this_servers_own_page(self, service: Service) -> None:
        headers = {"Origin": service.server.url}
        answer = service.client.post("/v1/jobs", json={"kind": "q1"}, headers=headers)
        assert answer.status_code == 202

    def test_a_form_submits_nothing(self, service: Service) -> None:
        """What a page may send without asking first: a form, or text."""
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
            headers = {"Content-Type": kind}
            answer = service.client.post("/v1/jobs", content=b'{"kind": "q1"}', headers=headers)
            problem(answer, 415, "unsupported_media_type")
        assert service.get("/v1/jobs")["items"] == []

    def test_with_keys_the_name_does_not_matter(
        self, embedded_column: Column, tmp_path: Path
    ) -> None:
        """No page has the key, and a server that others reach has names of its own."""
        with serve(embedded_column.settings(port=0, keys="required"), tmp_path) as service:
            answer = service.client.get("/v1/jobs", headers={"Host": "fmx.example"})
            problem(answer, 401, "no_key")

    def test_an_operator_may_trust_the_network(
        self, embedded_column: Column, tmp_path: Path
    ) -> None:
        values = {"keys": "off", "trust_network": True}
        with serve(embedded_column.settings(port=0, **values), tmp_path) as service:
            answer = service.client.get("/v1/jobs", headers={"Host": "fmx.example"})
            assert answer.status_code == 200


class TestRequestsOfTheServersOwn:
    """MLflow CVE-2026-2393 (SSRF): an address that a client names is not asked."""

    @pytest.fixture
    def listener(self) -> Generator[tuple[str, list[Any]]]:
        """An address, and who has connected to it."""
        came: list[Any] = []
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            listening.settimeout(0.1)
            ends = threading.Event()

            def accept() -> None:
                while not ends.is_set():
                    with contextlib.suppress(TimeoutError):
                        connection, address = listening.accept()
                        connection.close()
                        came.append(address)

            thread = threading.Thread(target=accept)
            thread.start()
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/x.png", came
            ends.set()
            thread.join()

    def test_no_field_is_followed(
        self, shared: Service, predict_path: str, listener: tuple[str, list[Any]]
    ) -> None:
        url, came = listener
        bodies: list[tuple[str, Any]] = [
            (predict_path, {"images": url}),
            (predict_path, {"images": [url]}),
            (predict_path, {"url": url}),
            (predict_path, {"test_rows": [url]}),
            ("/v1/jobs/validate", {"kind": "q1", "name": url, "tags": [url[:60]]}),
            ("/v1/jobs/validate", {"kind": "q1", "spec": {"dataset": url}}),
            ("/v1/jobs/validate", {"kind": "q5", "spec": {"source_run": url}}),
            ("/v1/jobs", {"kind": "q1", "name": url, "webhook": url}),
            (url, {}),
        ]
        headers = {"Referer": url, "X-Forwarded-Host": url, "X-Original-URL": url, "Link": url}
        for path, body in bodies:
            target = path if path.startswith("/") else f"/v1/models/{path}/predict"
            answer = shared.client.post(target, json=body, headers=headers)
            assert answer.status_code in {200, 404, 405, 422}, answer.text
        for name in (url, "https://127.0.0.1/x"):
            files = {"files": (name, url.encode(), "image/png")}
            assert shared.client.post(predict_path, files=files).status_code == 422
        time.sleep(0.3)
        assert came == []


class TestArchives:
    """BentoML CVE-2026-27905: nothing that is sent is unpacked."""

    def test_an_archive_is_no_picture(self, shared: Service, predict_path: str) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("../../evil.txt", "x")
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w:gz") as archive:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        for content in (packed.getvalue(), tar.getvalue()):
            answer = shared.client.post(predict_path, files={"files": ("a.png", content)})
            problem(answer, 422, "invalid")


class TestPickle:
    """BentoML CVE-2025-27520, torch CVE-2025-32434: objects that run when they are read."""

    def test_a_pickle_runs_nothing(
        self, shared: Service, predict_path: str, tmp_path: Path
    ) -> None:
        mark = tmp_path / "was run"

        class Evil:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(mark),)

        content = pickle.dumps(Evil())
        for kind in ("application/json", "application/octet-stream", "application/x-pickle"):
            for path in (
                predict_path,
                predict_path.replace("/v1", "/v2").replace("predict", "infer"),
            ):
                headers = {"Content-Type": kind}
                answer = shared.client.post(path, content=content, headers=headers)
                assert 400 <= answer.status_code < 500
        answer = shared.client.post(predict_path, files={"files": ("a.png", content)})
        problem(answer, 422, "invalid")
        assert not mark.exists()

    def test_no_module_reads_one(self) -> None:
        reads = re.compile(r"\b(pickle|joblib|dill|cloudpickle|marshal|shelve)\.|torch\.load\(")
        unsafe = re.compile(r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|yaml\.load\(")
        for room in ("api", "fmx_client", "fmx_ml", "fmx_store", "migrations", "worker"):
            for file in (ROOT / room).rglob("*.py"):
                text = file.read_text()
                assert not reads.search(text), file
                assert not unsafe.search(text), file


class TestFloods:
    """python-multipart CVE-2026-42561, Starlette CVE-2025-62727: small requests, long work."""

    SECONDS = 2.0

    @contextlib.contextmanager
    def quickly(self) -> Generator[None]:
        began = time.process_time()
        yield
        assert time.process_time() - began < self.SECONDS

    def test_ranges(self, service: Service) -> None:
        job_id = service.run_to_success(job_files={"a": b"x" * 1000})
        path = f"/v1/jobs/{job_id}/artifacts/a"
        for text in (
            "bytes=" + "0-," * 15_000,
            "bytes=" + "0" * 50_000 + "-",
            "bytes=" + "-" * 50_000,
            "bytes=" + ",".join(["1-2"] * 10_000),
        ):
            with self.quickly():
                answer = service.client.get(path, headers={"Range": text})
            assert answer.status_code in {200, 416, 431}, answer.status_code

    def test_forms(self, shared: Service, predict_path: str) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n\r\n'
        bodies = [
            part * 20_000 + b"--b--\r\n",
            b"--b\r\n" + b"X: y\r\n" * 100_000 + b"\r\n\r\n--b--\r\n",
            b"--b\r\nContent-Disposition: form-data"
            + b"; a=b" * 100_000
            + b"\r\n\r\nx\r\n--b--\r\n",
            b"\r\n" * 500_000 + part + b"--b--\r\n",
            b"--b\r\n" * 200_000,
            b"-" * 1_000_000,
        ]
        for body in bodies:
            with self.quickly():
                answer = shared.client.post(predict_path, content=body, headers=headers)
            assert 400 <= answer.status_code < 500, answer.status_code

    def test_json(self, shared: Service) -> None:
        headers = {"Content-Type": "application/json"}
        for body in (
            b"[" * 200_000,
            b'{"a":' * 40_000,
            b'{"kind": "q1", "priority": ' + b"9" * 200_000 + b"}",
            b'{"kind": "q1", "tags": [' + b'"a",' * 60_000 + b'"a"]}',
            b"{" + b",".join(b'"%d": 1' % n for n in range(20_000)) + b"}",
        ):
            with self.quickly():
                answer = shared.client.post("/v1/jobs", content=body, headers=headers)
            assert answer.status_code in {400, 413, 422}, answer.status_code

    def test_headers_and_paths(self, shared: Service) -> None:
        for head in (
            "GET /" + "a/" * 30_000 + " HTTP/1.1\r\nHost: 127.0.0.1",
            "GET /v1/jobs?" + "a=b&" * 10_000 + " HTTP/1.1\r\nHost: 127.0.0.1",
            "GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: " + "a/b;q=0.1," * 5_000,
            "GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: " + "wait=1," * 8_000,
        ):
            with self.quickly():
                status, _ = send(shared, head)
            assert status in {200, 400, 404, 414, 422, 431}


def test_a_smuggled_request_is_none(shared: Service) -> None:
    """Two lengths, or a length and chunks: whatever a proxy before it would have believed."""
    for lines in (
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: xchunked",
    ):
        given = "Host: 127.0.0.1\r\nContent-Type: application/json"
        head = f"POST /v1/jobs HTTP/1.1\r\n{given}\r\n{lines}"
        body = b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        _, text = send(shared, head, body)
        assert text.count("HTTP/1.1 2") == 0, text
