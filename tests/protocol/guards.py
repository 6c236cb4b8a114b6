"""The guards of the protocol, each of which can be taken out of the model."""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Guards:
    """All in place; what each holds off is found when it is taken out."""

    one_submission_a_key: bool = True
    """A submission that is repeated with its key is answered with the job it has made."""
    submit_is_one_transaction: bool = True
    """A job and its runs are recorded together or not at all."""
    claim_looks_again: bool = True
    """A claim takes what is due when it writes, not what was due when it looked."""
    claim_raises_token: bool = True
    """Each claim has a token of its own."""
    claim_clears_epochs: bool = True
    """What was written after the newest checkpoint goes when a run is claimed again."""
    claim_adopts_epochs: bool = True
    """What was written before it belongs to the new attempt."""
    claim_tells_rewind: bool = True
    """Whoever listens learns which of the epochs that they were told of are void."""
    epochs_are_told_once: bool = True
    """An epoch that is written twice is told of once."""
    checkpoint_follows_epochs: bool = True
    """A checkpoint is recorded after the epochs that lead to it."""
    checkpoint_shows_token: bool = True
    """A checkpoint is recorded by the attempt that holds the run."""
    end_drops_checkpoints: bool = True
    """Nothing goes on from a run that has ended well, or by a cancel."""
    claim_waits_for_needs: bool = True
    """A run that waits for others is not due."""
    token_on_write: bool = True
    """A write shows the token of its attempt."""
    held_on_write: bool = True
    """A write is refused when nobody holds the run, whatever its token."""
    epoch_replaces_itself: bool = True
    """An epoch that is written twice is there once."""
    finish_is_one_transaction: bool = True
    """A run's end, what waits for it and its job's end are written together."""
    finish_hears_cancel: bool = True
    """A run that is being cancelled ends as cancelled, whatever it has done."""
    crash_hears_cancel: bool = True
    """A run that is being cancelled does not go back to the queue."""
    crashes_are_limited: bool = True
    """A run that always crashes fails after a few times."""
    hand_back_is_no_crash: bool = True
    """A run whose worker stops in good order goes back to the queue unblamed."""
    failure_is_passed_on: bool = True
    """What needs a run that has failed fails too."""
    success_releases: bool = True
    """What needs a run that has succeeded waits for one less."""
    retry_counts_needs: bool = True
    """A run that is retried waits for those of its needs that have not succeeded."""
    beat_is_compared: bool = True
    """A run is taken back only if its counter is still the one that was seen."""
    reaper_restarts_after_errors: bool = True
    """After an outage, once the database can be written, every run has a whole lease again."""
    reaper_tries_writing: bool = True
    """Who sees a silence finds out whether the database takes any writes."""
    reaper_restarts_after_pauses: bool = True
    """A reaper that stood still itself begins anew."""
    reaper_waits_a_lease: bool = True
    """A counter that stands still is watched for a whole lease."""
    beat_tells_cancel: bool = True
    """The answer to a heartbeat says that the run should stop."""
    lost_lease_is_heard: bool = True
    """A worker that has lost a lease stops the training."""
    waiting_is_announced_again: bool = True
    """What stays due without being claimed is announced again."""
    standby_looks_itself: bool = True
    """An idle worker looks in the record while the broker is away."""
    silence_is_noticed: bool = True
    """Somebody takes back what a dead worker held."""
    deletion_is_logged: bool = True
    """A job that is deleted leaves an event that says so."""

    def without(self, name: str) -> "Guards":
        """All but one."""
        return replace(self, **{name: False})

    @classmethod
    def names(cls) -> list[str]:
        """Every guard's name."""
        return [field.name for field in fields(cls)]
