"""`fmx data`: what it takes in, shows, and refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from own_pictures import write_folder, write_idx
from services import ROOT, Column

Told = subprocess.CompletedProcess[str]
Ask = Callable[..., Told]


@pytest.fixture
def ask(embedded_column: Column) -> Ask:
    """The command, on a record of this test's own."""

    def run(*arguments: object) -> Told:
        command = [sys.executable, "-m", "fmx_store.admin", "data", *map(str, arguments)]
        environment = embedded_column.process_environment()
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_what_is_registered_is_listed_shown_and_removed(ask: Ask, tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx", 100, 20)
    told = ask("register", "digits", "--idx", folder, "--labels", "o,i,z,e,h,s,b,t,x,g")
    assert told.returncode == 0, told.stderr
    assert "  2  z  first half  10 to learn from, 2 to test with" in told.stdout
    again = ask("register", "digits", "--idx", folder, "--labels", "o,i,z,e,h,s,b,t,x,g", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["class_names"] == list("oizehsbtxg")
    other = ask("register", "digits", "--idx", folder)
    assert other.returncode == 1
    assert "registered with other contents" in other.stderr
    assert ask("list").stdout.split() == ["digits", "10", "classes", "120", "pictures"]
    shown = json.loads(ask("show", "digits", "--json").stdout)
    assert (shown["name"], shown["first_half"]) == ("digits", [0, 1, 2, 3, 4])
    assert ask("remove", "digits").stdout == "digits removed\n"
    assert json.loads(ask("list", "--json").stdout) == {"items": []}
    gone = ask("remove", "digits")
    assert (gone.returncode, "no data set 'digits'" in gone.stderr) == (1, True)


def test_pictures_that_were_changed_are_said_to_be(ask: Ask, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", per_class=7)
    told = ask("register", "creatures", "--folder", folder)
    assert "35 of 35 pictures were inverted, since their background is light" in told.stdout
    assert "  0  ant  first half  6 to learn from, 1 to test with" in told.stdout


def test_what_will_not_do_is_refused(ask: Ask, tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx", 100, 20)
    for name in ("Digits", "synthetic", "x" * 41, "../x", "-x", ""):
        told = ask("register", "--idx", folder, "--", name)
        assert told.returncode == 2, name
        assert "name" in told.stderr
    assert "give one of" in ask("register", "x").stderr
    both = ask("register", "x", "--idx", folder, "--npz", folder)
    assert (both.returncode, "give one of" in both.stderr) == (2, True)
    missing = ask("register", "x", "--npz", tmp_path / "nothing.npz")
    assert missing.returncode == 1
    assert "nothing.npz can't be read" in missing.stderr
    halves = ask("register", "x", "--idx", folder, "--first-half", "0,zero")
    assert (halves.returncode, "--first-half" in halves.stderr) == (2, True)
    assert json.loads(ask("list", "--json").stdout) == {"items": []}
