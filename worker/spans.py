"""What a trace tells of a run: its claim, and its way from there to its end."""

from collections.abc import Sequence

from fmx_store.claims import Claim
from fmx_store.states import Role
from fmx_store.tracing import Attributes, Span
from worker.context import Context


def trace_claim(context: Context, pack: Sequence[Claim], began_ns: int) -> None:
    """The claim that began at a moment since 1970 and has just been made, in each run's trace."""
    for claim in pack:
        context.traces.begin(
            "claim",
            parent=claim.job.traceparent,
            attributes=_describe(context, claim),
            began_ns=began_ns,
        ).end()


def begin_span(context: Context, claim: Claim) -> Span:
    """The span of an attempt at a run; its epochs are events of it."""
    return context.traces.begin(
        "train" if claim.run.role is Role.TRAINING else "collate",
        "consumer",
        parent=claim.job.traceparent,
        attributes=_describe(context, claim),
    )


def _describe(context: Context, claim: Claim) -> Attributes:
    return {
        "fmx.job": claim.lease.job_id,
        "fmx.run": claim.lease.run_id,
        "fmx.run.name": claim.run.name,
        "fmx.attempt": claim.lease.attempt,
        "fmx.kind": claim.job.kind,
        "fmx.worker": context.name,
    }
