"""Whoever listens hears each event once, whatever dies meanwhile."""

from threading import Thread

from fleet import Fleet
from listening import Heard, listen, metrics_of, replay

from fmx_client import Client
from fmx_client.types import JobEvent

EPOCHS = 100  # of 0.05 s at least


def test_a_story_is_exact_through_the_deaths_of_workers_and_servers(fleet: Fleet) -> None:
    fleet.start_server()
    fleet.start_worker()
    job_id = fleet.submit(epochs=EPOCHS, seeds=2)
    events: list[JobEvent] = []

    def follow() -> None:
        for event in client.events(job_id):
            events.append(event)  # noqa: PERF402 - each as it comes

    def hear_of(name: str, number: int = 1) -> None:
        fleet.wait_until(
            lambda: [event.event for event in events].count(name) >= number, 60, f"{name} {number}"
        )

    with Client(str(fleet.client.base_url)) as client:
        listener = Thread(target=follow, daemon=True)
        listener.start()
        hear_of("epochs", 2)
        fleet.kill_server()
        fleet.start_server()
        hear_of("epochs", 4)
        fleet.kill_workers()
        fleet.start_worker()
        hear_of("rewound")
        fleet.kill_server()
        fleet.start_server()
        assert fleet.wait_for_all() == ["succeeded"]
        listener.join(timeout=30)
        assert not listener.is_alive()
    heard = [Heard(event.id, event.event, event.data) for event in events]
    assert replay(heard) == metrics_of(fleet.client, job_id)
    assert len({event.id for event in events}) == len(events)
    late = list(listen(fleet.client, job_id))
    assert replay(late) == replay(heard)
    assert [each[1:] for each in late if each.name != "epochs"] == [
        each[1:] for each in heard if each.name != "epochs"
    ]
    fleet.check()
