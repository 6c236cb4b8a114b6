"""Python and the installed packages, against what fmx asks for and what it was tested with."""

import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from fmx_client.doctor.findings import Finding, failed, ok, warning

# The package that tells whether an extra was installed: nothing else here brings it.
_SIGNS = {"store": "sqlmodel", "api": "fastapi", "ml": "torch"}
_PINS = Path(__file__).parents[2] / "constraints.txt"  # of a source checkout
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?>=(?P<least>[\d.]+)")
_EXTRA = re.compile(r"extra == [\"'](?P<extra>[\w-]+)[\"']")
_PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+)")
_SHOWN_DEPARTURES = 6


@dataclass(frozen=True)
class Requirement:
    """A package that fmx, or one of its extras, needs, and its least version."""

    name: str
    least: str
    extra: str | None


def look_at_python() -> Finding:
    """This Python, against the least that fmx runs on."""
    wanted = metadata("fmx")["Requires-Python"].removeprefix(">=")
    here = platform.python_version()
    if release(here) < release(wanted):
        cure = f"make the environment with a newer one: PYTHON=python{wanted} scripts/setup.sh"
        return failed("python", f"{here}; fmx needs {wanted} or newer", cure)
    return ok("python", f"{here} on {platform.platform(terse=True)}")


def look_at_packages() -> Finding:
    """Every package of the extras that are installed here."""
    extras = {None, *(extra for extra, sign in _SIGNS.items() if _version(sign) is not None)}
    wrong = [said for item in _requirements() if item.extra in extras for said in _misfits(item)]
    named = ", ".join(sorted(extra for extra in extras if extra)) or "none: the client alone"
    if wrong:
        cure = f"pip install --upgrade 'fmx[{','.join(sorted(e for e in extras if e))}]'"
        return failed("packages", "; ".join(wrong), cure.replace("[]", ""))
    return ok("packages", f"fmx {version('fmx')}; extras: {named}")


def look_at_pins() -> Finding | None:
    """The versions that fmx was tested with; None where it was not installed from its sources."""
    if not _PINS.is_file():
        return None
    pins = [m for line in _PINS.read_text("utf-8").splitlines() if (m := _PIN.match(line))]
    installed = [(pin["name"], pin["version"], _version(pin["name"])) for pin in pins]
    others = [
        f"{name} {found} (tested: {wanted})"
        for name, wanted, found in installed
        if found is not None and found.partition("+")[0] != wanted
    ]
    if others:
        more = f" and {len(others) - _SHOWN_DEPARTURES} more"
        shown = ", ".join(others[:_SHOWN_DEPARTURES])
        says = shown + (more if len(others) > _SHOWN_DEPARTURES else "")
        return warning("pins", says, "scripts/setup.sh dev installs the tested ones")
    count = sum(found is not None for *_, found in installed)
    return ok("pins", f"{count} packages are those of constraints.txt")


def has_extra(extra: str) -> bool:
    """Whether an extra is installed here."""
    return _version(_SIGNS[extra]) is not None


def release(text: str) -> tuple[int, ...]:
    """The numbers of a version, to be compared: 2.14.1+cu130 is (2, 14, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("+")[0]))


def _requirements() -> Iterator[Requirement]:
    for line in requires("fmx") or ():
        found, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
        if found is not None and "sys_platform" not in line:
            yield Requirement(found["name"], found["least"], extra["extra"] if extra else None)


def _misfits(item: Requirement) -> Sequence[str]:
    found = _version(item.name)
    if found is None:
        return (f"{item.name} is missing",)
    if release(found) < release(item.least):
        return (f"{item.name} is {found}, and {item.least} is the least",)
    return ()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
