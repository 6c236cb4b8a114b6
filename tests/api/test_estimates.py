"""What a job may cost, by what trainings like its own have taken."""

from typing import Any

import pytest
from http_service import Service

# Trainings end after two epochs of half a second each.
PACE = 0.5
EPOCHS = 100


def seconds_of(service: Service, **spec: Any) -> float | None:
    """What the server says that one training of Q2 takes at most."""
    request = {"kind": "q2", "spec": {"models": [{}], "max_epochs": EPOCHS, **spec}}
    answer = service.client.post("/v1/jobs/validate", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()["estimate"]["seconds_at_most"]


def search(**space: Any) -> dict[str, Any]:
    return {"models": None, "search": {"trials": 1, "space": space}}


def test_an_epoch_costs_as_much_as_its_share_of_the_pictures(service: Service) -> None:
    service.run_to_success(kind="q2", spec={"models": [{}], "fraction_percent": 50})
    assert seconds_of(service, fraction_percent=50) == pytest.approx(EPOCHS * PACE)
    # Three passes for each of 25,000 training pictures, one for 5,000 of validation.
    ratio = (75_000 + 5_000) / (37_500 + 5_000)
    assert seconds_of(service) == pytest.approx(EPOCHS * PACE * ratio)


@pytest.mark.parametrize(
    "other",
    [
        {"models": [{"model": {"conv_layers": 1}}]},
        {"models": [{"batch_size": 50}]},
        {"models": [{"augmentation": {"flip": True}}]},
        {"dataset": "synthetic"},
        search(),
    ],
)
def test_other_networks_and_batches_say_nothing(service: Service, other: dict[str, Any]) -> None:
    service.run_to_success(kind="q2", spec={"models": [{}]})
    like = {"models": [{"optimiser": {"name": "Adam"}, "schedule": "cosine"}], "half": "fm2"}
    assert seconds_of(service, **like) == pytest.approx(EPOCHS * PACE)
    assert seconds_of(service, **other) is None


def test_trials_are_like_those_of_the_same_space(service: Service) -> None:
    service.run_to_success(kind="q2", spec=search(conv_layers=[1]))
    assert seconds_of(service, **search(conv_layers=[1])) == pytest.approx(EPOCHS * PACE)
    assert seconds_of(service, **search(conv_layers=[2])) is None


def test_frozen_layers_and_learning_ones_differ(service: Service) -> None:
    """All of Q5's trainings but the transferred ones are known."""
    best = {"model": {"conv_layers": 1, "dense_layers": 3}}
    source = service.run_to_success(spec=best)
    run_id = service.get(f"/v1/jobs/{source}/runs")["items"][0]["id"]
    few = {"fractions": [50], "final_percent": 50, "source_run": run_id, "initial": best}
    spec = {**few, "best": best, "max_epochs": EPOCHS}

    def seconds_with(starts: list[str]) -> float | None:
        request = {"kind": "q5", "spec": {**spec, "starts": starts}}
        answer = service.client.post("/v1/jobs/validate", json=request)
        assert answer.status_code == 200, answer.text
        return answer.json()["estimate"]["seconds_at_most"]

    assert seconds_with(["random"]) is None
    request = {"kind": "q5", "spec": {**spec, "starts": ["random"]}}
    assert service.client.post("/v1/jobs", json=request).status_code == 202
    for _ in range(4):
        service.train_one()
    service.collate({})
    known = seconds_with(["random"])
    # By the mean of all five, the one that was taken over too, a pass of a picture.
    mean = PACE * (4 / 80_000 + 1 / 42_500) / 5
    assert known == pytest.approx(EPOCHS * mean * (3 * 80_000 + 42_500))
    assert seconds_with(["fine_tune"]) == pytest.approx(known)
    assert seconds_with(["frozen"]) is None


def test_autoencoders_and_perceptrons_have_paces_too(service: Service) -> None:
    request = {"kind": "q4", "preset": "quick"}
    before = service.client.post("/v1/jobs/validate", json=request).json()
    assert before["estimate"]["seconds_at_most"] is None
    service.client.post("/v1/jobs", json=request)
    for _ in before["runs"]:
        service.train_one()
    service.collate({})
    after = service.client.post("/v1/jobs/validate", json=request).json()
    assert after["estimate"]["epochs_at_most"] == sum(run["max_epochs"] for run in after["runs"])
    assert after["estimate"]["seconds_at_most"] > 0
