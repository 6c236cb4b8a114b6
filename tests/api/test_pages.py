"""Pages as HTML: what they show without a script, to whom, and what they make of odd requests."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from http_service import Service, problem
from page_scenes import Scene

from api.pages import words
from api.pages.differences import find_differences
from api.pages.glimpses import MAX_KEPT, Glimpses
from fmx_ml.results import Figure

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
NOBODY = "01KB0000000000000000000000"


def text_of(scene: Scene, path: str, status: int = 200) -> str:
    answer = scene.service.client.get(path, headers=HTML)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


class Links(HTMLParser):
    """The places on this server that a page leads to or loads."""

    def __init__(self, text: str) -> None:
        """Reads the page."""
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Notes addresses, but not those that a form sends to."""
        for name, value in attrs:
            if name in {"href", "src", "hx-get"} and value and value.startswith("/"):
                self.found.add(value.partition("#")[0])


def test_every_page_is_whole_and_leads_somewhere(scene: Scene) -> None:
    seen: set[str] = set()
    for path in scene.paths:
        text = text_of(scene, path)
        assert text.startswith("<!doctype html>")
        assert re.search(r"<title>[^<]+ · fmx</title>", text)
        assert text.count("<h1") == 1
        assert not re.search(r"<script(?![^>]* (src|type=\"application/json\"))", text)
        assert not re.search(r"\s(style|on\w+)=", text), "the policy would not let it through"
        seen |= Links(text).found
    assert len(seen) > 40
    for path in sorted(seen):
        answer = scene.service.client.get(path, headers=HTML, follow_redirects=True)
        assert answer.status_code in {200, 409}, (path, answer.text[:300])


def test_what_was_typed_is_text(scene: Scene) -> None:
    for path in ("/jobs", f"/jobs/{scene.finished}", "/compare", f"/submit?from={scene.finished}"):
        text = text_of(scene, path)
        assert "<b>bold</b>" not in text
        assert "tag <i>" not in text
    assert "finished &amp; &lt;b&gt;bold&lt;/b&gt;" in text_of(scene, "/jobs")


def test_a_job_reads_without_a_script(scene: Scene) -> None:
    text = text_of(scene, f"/jobs/{scene.finished}")
    for part in ("q1.accuracy.test", "0.9816", ">inside<", ">outside<", "Table 1", "figure-1.csv"):
        assert part in text
    assert f'src="/v1/jobs/{scene.finished}/artifacts/figure-1.png?inline=true"' in text
    assert "the loss is nan" in text_of(scene, f"/jobs/{scene.failed}")
    assert "They come when the job has ended." in text_of(scene, f"/jobs/{scene.running}")


def test_curves_are_drawn_without_a_script(scene: Scene) -> None:
    text = text_of(scene, f"/jobs/{scene.finished}")
    lines = re.findall(r'<polyline class="line-0" points="([^"]+)"', text)
    # Five epochs of losses 2, 1, 0.67, 0.5, 0.4 in a box of 600 x 200; accuracies stay at a half.
    assert lines[0] == "0.0,0.0 150.0,125.0 300.0,166.7 450.0,187.5 600.0,200.0"
    assert len(lines) == 2
    assert {point.split(",")[1] for point in lines[1].split()} == {"0.0"}
    assert "<polyline" not in text_of(scene, f"/jobs/{scene.failed}")


def test_buttons_are_there_when_they_work(scene: Scene) -> None:
    orders = {
        scene.finished: {"delete"},
        scene.failed: {"delete", "retry"},
        scene.running: {"cancel"},
    }
    for job_id, wanted in orders.items():
        text = text_of(scene, f"/jobs/{job_id}")
        assert set(re.findall(rf'action="/jobs/{job_id}/(\w+)"', text)) == wanted


def test_buttons_do_what_the_api_does(service: Service) -> None:
    def press(job_id: str, order: str) -> tuple[int, str]:
        answer = service.client.post(f"/jobs/{job_id}/{order}", headers=HTML)
        return answer.status_code, answer.headers.get("location", "")

    job_id = service.submit()["id"]
    here = f"/jobs/{job_id}"
    assert press(job_id, "retry")[0] == 409
    assert press(job_id, "cancel") == (303, here)
    assert service.get(f"/v1/jobs/{job_id}")["state"] == "cancelled"
    assert press(job_id, "retry") == (303, here)
    assert service.get(f"/v1/jobs/{job_id}")["state"] == "queued"
    assert press(job_id, "delete") == (303, "/jobs")
    assert press(job_id, "delete")[0] == 404
    problem(service.client.post(f"/jobs/{job_id}/cancel"), 404, "not_found")


def test_the_list_is_filtered_and_paged(scene: Scene) -> None:
    assert "failed</a>" in text_of(scene, "/jobs?kind=&tag=&state=failed")
    assert "running</a>" not in text_of(scene, "/jobs?kind=&tag=&state=failed")
    assert "No job fits these filters" in text_of(scene, "/jobs?kind=q5")
    first = text_of(scene, "/jobs?limit=1&kind=q1")
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    second = text_of(scene, older[1].replace("&amp;", "&"))
    assert "running</a>" in first
    assert "running</a>" not in second
    assert "Newest" in second


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nothing", 404, "nothing at this path"),
        (f"/jobs/{NOBODY}", 404, NOBODY),
        ("/jobs/x", 404, "nothing at this path"),
        (f"/models/{NOBODY}", 404, NOBODY),
        (f"/compare?job={NOBODY}", 404, NOBODY),
        (f"/compare?run={NOBODY}", 404, NOBODY),
        ("/compare?" + "&".join(["job=a"] * 13), 422, "?job"),
        ("/compare?name=a", 422, "?name"),
        (f"/submit?from={NOBODY}", 404, NOBODY),
        ("/submit?kind=q9", 404, "q9"),
        ("/submit?kind=q1&kind=q2", 422, "given more than once"),
        ("/jobs?kind=%3Cscript%3E", 422, "?kind"),
        ("/jobs?state=lost", 422, "?state"),
        ("/jobs?cursor=x", 422, "?cursor"),
        ("/jobs?limit=0", 422, "?limit"),
        ("/workers?a=b", 422, "?a"),
        ("/v1/jobs/x", 404, "job"),
    ],
)
def test_problems_are_pages_for_browsers_and_bodies_for_programs(
    scene: Scene, path: str, status: int, said: str
) -> None:
    text = text_of(scene, path, status)
    assert said in text
    assert "<script>" not in text
    answer = scene.service.client.get(path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == status
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_v2_tells_browsers_what_its_protocol_wants(scene: Scene) -> None:
    answer = scene.service.client.get("/v2/models/nothing", headers=HTML)
    assert answer.json()["error"]


def test_rows_that_did_not_change_are_not_sent_again(scene: Scene) -> None:
    first = scene.service.client.get("/jobs/rows")
    again = scene.service.client.get("/jobs/rows", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_many_who_look_at_a_list_read_it_once(service: Service) -> None:
    service.submit()
    glimpses = Glimpses()
    made: list[int] = []

    def make() -> str:
        made.append(1)
        return str(len(made))

    assert {glimpses.get("a", make) for _ in range(50)} == {"1"}
    assert glimpses.get("b", make) == "2"
    for number in range(2 * MAX_KEPT):
        glimpses.get(number, make)
    assert len(glimpses._kept) == MAX_KEPT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"), (True, "yes"), (0, "0"), (1234, "1234"), (123_456, "123,456"),
        (0.5, "0.5000"), (0.0, "0"), (12.3456, "12.35"), (0.0001, "1.000e-04"),
        (2_500_000.0, "2.500e+06"), ("a", "a"), ([1, 2], "[1, 2]"),
    ],
)  # fmt: skip
def test_numbers_are_told_briefly(value: Any, text: str) -> None:
    assert words.tell_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.005, "0.005"),
        (5e-4, "0.0005"),
        (0.02, "0.02"),
        (1e-7, "1e-07"),
        (3, "3"),
        (None, "\N{EN DASH}"),
    ],
)
def test_settings_are_told_as_they_were_typed(value: Any, text: str) -> None:
    assert words.tell_setting(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\N{EN DASH}"), (0, "0 s"), (0.25, "0.2 s"), (59.4, "59 s"), (61, "1 min 01 s"),
        (3725, "1 h 02 min"), (90_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_spans_are_told_by_two_units(seconds: float | None, text: str) -> None:
    assert words.tell_duration(seconds) == text


def test_sizes_are_told_in_their_unit() -> None:
    told = [words.tell_size(size) for size in (0, 1023, 1024, 1_572_864, 5 * 1024**3)]
    assert told == ["0 B", "1023 B", "1.0 KB", "1.5 MB", "5.0 GB"]


def test_each_picture_of_a_figure_has_its_own_files() -> None:
    names = ["a-1.png", "a-1.csv", "a-2.png", "a-2.svg", "b.csv"]
    shots = words.list_shots(Figure(number="4", title="Loss", artifacts=names))
    assert [(shot.title, list(shot.files)) for shot in shots] == [
        ("Figure 4: Loss (a 1)", ["a-1.png", "a-1.csv"]),
        ("Figure 4: Loss (a 2)", ["a-2.png", "a-2.svg"]),
    ]


def test_what_differs_is_found_at_any_depth() -> None:
    items = [
        {"a": 1, "b": {"c": [1], "d": None}, "e": "same"},
        {"a": 1, "b": {"c": [2], "d": None}, "e": "same", "f": 0},
    ]
    found = find_differences(items)
    assert list(found.names) == ["b.c", "f"]
    assert [list(row) for row in found.rows] == [[[1], None], [[2], 0]]
    assert find_differences([]).names == []
    assert find_differences(items[:1]).names == []
