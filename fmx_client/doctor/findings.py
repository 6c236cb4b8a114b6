"""What a check has found. `fmx admin doctor` prints its own in the same form."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Level: TypeAlias = Literal["ok", "warning", "failed"]


class Finding(BaseModel):
    """What a check has seen, and what helps where that is bad."""

    model_config = ConfigDict(frozen=True)

    name: str
    level: Level
    says: str
    cure: str | None = None


class Findings(BaseModel):
    """Everything that was looked at."""

    is_well: bool
    checks: list[Finding]


def gather(findings: Sequence[Finding]) -> Findings:
    """All is well where no check has failed."""
    is_well = all(finding.level != "failed" for finding in findings)
    return Findings(is_well=is_well, checks=list(findings))


def ok(name: str, says: str) -> Finding:
    """A finding that is good."""
    return Finding(name=name, level="ok", says=says)


def warning(name: str, says: str, cure: str) -> Finding:
    """A finding that may be as it was meant."""
    return Finding(name=name, level="warning", says=says, cure=cure)


def failed(name: str, says: str, cure: str) -> Finding:
    """A finding that must be cured."""
    return Finding(name=name, level="failed", says=says, cure=cure)
