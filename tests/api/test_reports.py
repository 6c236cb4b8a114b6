"""Reports: which jobs they are of, their forms, and when they change."""

import pytest
from http_service import Service, problem

TYPES = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "md": "text/markdown; charset=utf-8",
}
PICTURE = {"figure-1.png": b"\x89PNG\r\n\x1a\n"}


@pytest.mark.parametrize("form", TYPES)
def test_a_report_of_named_jobs(form: str, service: Service) -> None:
    jobs = [service.run_to_success(name=name, job_files=PICTURE) for name in ("one", "two")]
    path = f"/v1/reports/report.{form}"
    answer = service.client.get(path, params={"jobs": ",".join(jobs)})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == TYPES[form]
    assert "script" not in answer.headers["content-security-policy"]
    if form == "pdf":
        assert answer.content.startswith(b"%PDF-")
    else:
        assert all(job_id in answer.text for job_id in jobs)
        assert "one" in answer.text
        assert "two" in answer.text


def test_without_names_it_is_the_newest_that_succeeded(service: Service) -> None:
    service.run_to_success(name="the older one")
    newest = service.run_to_success(name="the newer one")
    service.submit(name="not yet done")
    text = service.client.get("/v1/reports/report.md").text
    assert newest in text
    assert "the older one" not in text
    assert "not yet done" not in text


def test_a_report_is_sent_once(service: Service) -> None:
    job_id = service.run_to_success()
    path = f"/v1/reports/report.html?jobs={job_id}"
    first = service.client.get(path)
    etag = first.headers["etag"]
    again = service.client.get(path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert service.client.get(path).content == first.content
    markdown = service.client.get(f"/v1/reports/report.md?jobs={job_id}")
    assert markdown.headers["etag"] != etag


def test_before_anything_has_succeeded_there_is_nothing_to_report(service: Service) -> None:
    problem(service.client.get("/v1/reports/report.html"), 404, "nothing_to_report")


def test_a_job_without_results(service: Service) -> None:
    waiting = service.submit()["id"]
    answer = service.client.get("/v1/reports/report.html", params={"jobs": waiting})
    problem(answer, 409, "not_ready")
    assert answer.headers["retry-after"] == "10"
    service.fail(service.claim())
    answer = service.client.get("/v1/reports/report.html", params={"jobs": waiting})
    problem(answer, 409, "no_results")


@pytest.mark.parametrize(
    ("jobs", "status", "code"),
    [
        ("", 404, "not_found"),
        ("nonsense", 404, "not_found"),
        ("01JX0000000000000000000000", 404, "not_found"),
        ("a,a", 422, "invalid"),
        (",".join(f"j{number}" for number in range(21)), 422, "invalid"),
        ("x" * 601, 422, "invalid"),
    ],
)
def test_bad_lists(jobs: str, status: int, code: str, shared: Service) -> None:
    answer = shared.client.get("/v1/reports/report.html", params={"jobs": jobs})
    problem(answer, status, code)


def test_another_form_is_refused(shared: Service) -> None:
    assert shared.client.get("/v1/reports/report.docx").status_code == 422
