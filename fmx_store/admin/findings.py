"""What a check has found: a finding is words, a level, and what helps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fmx_store.settings import Settings

Level: TypeAlias = Literal["ok", "warning", "failed"]

_LONGEST_SAYING = 300


@dataclass(frozen=True)
class Finding:
    """What a check has seen, and what helps where that is bad."""

    name: str
    level: Level
    says: str
    cure: str | None = None


class FaultError(Exception):
    """Something does not work."""

    level: Level = "failed"

    def __init__(self, says: str, cure: str) -> None:
        """Cure is what whoever runs this machine can do."""
        self.cure = cure
        super().__init__(says)


class DoubtError(FaultError):
    """Something works with less than it could, or may not be as it was meant."""

    level: Level = "warning"


@dataclass(frozen=True)
class Check:
    """One thing to look at, after those that it makes no sense without."""

    name: str
    look: Callable[[Settings], str]
    cure: str  # of what the look's libraries raise
    after: str | None = None


def run(check: Check, settings: Settings) -> Finding:
    """Looks, and puts whatever comes of it into words."""
    try:
        return Finding(check.name, "ok", check.look(settings))
    except FaultError as fault:
        return Finding(check.name, fault.level, _brief(fault), fault.cure)
    except Exception as error:  # noqa: BLE001 - whatever a dependency's client may raise
        return Finding(check.name, "failed", _brief(error), check.cure)


def _brief(error: Exception) -> str:
    """The first line of an error, of a database's own where it is one."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0][:_LONGEST_SAYING]
