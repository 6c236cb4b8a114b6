"""The questions, one file each: spec, presets, plan of runs, tables and figures (pydantic only)."""

from typing import Any

from fmx_ml.experiments import q1, q2, q3, q4, q5
from fmx_ml.questions import Question

# A question that is listed here can be asked: over HTTP, by the client, and alone.
QUESTIONS: tuple[Question[Any], ...] = (
    q1.QUESTION,
    q2.QUESTION,
    q3.QUESTION,
    q4.QUESTION,
    q5.QUESTION,
)
