"""Bad input gets a clear 4xx: the promise, kept by a server process under a corpus of attacks.

Each attack is refused with a problem body, within a bound, and pointed to where there is a place;
none makes the server fail, log a traceback, or keep memory.
"""

import functools
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

import pytest
from hostile import forms, json_texts, pictures, raw, requests
from hostile.attacks import Attack
from hostile.victim import Victim, attacked
from http_service import serve
from model_files import ModelFiles
from services import Column

MAX_GROWTH_BYTES = 64 * 1024 * 1024

FAMILIES: dict[str, Mapping[str, Callable[[], Attack]]] = {
    "pictures": pictures.ATTACKS,
    "forms": forms.ATTACKS,
    "JSON": json_texts.ATTACKS,
    "requests": requests.ATTACKS,
}


@functools.cache
def build(family: str) -> dict[str, Attack]:
    """A family's attacks, made once: some of them take longer to make than to stand."""
    return {name: make() for name, make in FAMILIES[family].items()}


@pytest.fixture(scope="module")
def victim(
    made: ModelFiles, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Victim]:
    """A server process with a trained model."""
    folder = tmp_path_factory.mktemp("victim")
    shutil.copyfile(sqlite_template, folder / "fmx.sqlite3")
    column = Column("embedded", {"FMX_DATA_DIR": str(folder)})
    with serve(column.settings(port=0, lease_seconds=600), folder) as service:
        job = service.run_to_success(files=made.files, model=True)
        (run,) = service.get(f"/v1/jobs/{job}/runs")["items"]
        file = service.get(f"/v1/jobs/{job}/artifacts")["items"][0]["path"]
    places = {"job": job, "run": run["id"], "model": run["model"], "file": file}
    with attacked(column, places) as victim:
        yield victim


def attack(victim: Victim, family: str) -> dict[str, list[str]]:
    """What went wrong, by the attacks' names."""
    found = {name: victim.stand(attack) for name, attack in build(family).items()}
    return {name: wrong for name, wrong in found.items() if wrong}


def attack_raw(victim: Victim) -> dict[str, list[str]]:
    """The same, of bytes on a connection."""
    found = {name: victim.stand_raw(make()) for name, make in raw.ATTACKS.items()}
    return {name: wrong for name, wrong in found.items() if wrong}


def expect_nothing(found: Mapping[str, Sequence[str]]) -> None:
    """Fails with all that went wrong, a line each."""
    assert not found, "\n".join(f"{name}: {', '.join(wrong)}" for name, wrong in found.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_input_gets_a_clear_4xx(victim: Victim, family: str) -> None:
    expect_nothing(attack(victim, family))
    assert victim.find_damage() == []


def test_bytes_that_are_no_request_get_one_too(victim: Victim) -> None:
    expect_nothing(attack_raw(victim))
    assert victim.find_damage() == []


def test_the_whole_corpus_leaves_no_memory_behind(victim: Victim) -> None:
    """Once to warm up what is kept on purpose, then once more."""
    sizes: list[int] = []
    for _ in range(2):
        for family in FAMILIES:
            attack(victim, family)
        attack_raw(victim)
        sizes.append(victim.resident_bytes())
    before, after = sizes
    assert after - before < MAX_GROWTH_BYTES
    assert victim.find_damage() == []
