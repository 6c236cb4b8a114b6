"""Predictions a second: this server, others with the same model, and one that does nothing.

All run at the same time on this machine and are asked in turn, by wrk over the loopback interface.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import servers
from benchmarks.load import Load, Target, has_wrk, put_load
from benchmarks.measuring import Row, compare
from benchmarks.served_model import ServedModel, make_served_model

CONNECTIONS = 32  # of single pictures
BATCH, BATCH_CONNECTIONS = 64, 8

_PEERS = {
    "litserve": (servers.litserve, "/predict"),
    "mlserver": (servers.mlserver, "/v2/models/model/infer"),
}

Loads = Mapping[str, Sequence[Load]]


def measure(rounds: int) -> list[Row]:
    """Every row about predictions; none where the program that makes the load is missing."""
    if not has_wrk():
        print("predictions are not measured: wrk is not installed", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as folder, _targets(Path(folder)) as targets:
        for target in targets.values():
            put_load(target)
        loads: dict[str, list[Load]] = {name: [] for name in targets}
        for _ in range(rounds):
            for name, target in targets.items():
                loads[name].append(put_load(target))
    return _tell(loads)


@contextmanager
def _targets(folder: Path) -> Generator[dict[str, Target]]:
    """All servers and what they are asked, by name."""
    model = make_served_model(folder)
    one, packed, head_bytes = _write_bodies(folder, model)
    as_bytes = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(head_bytes),
    }
    with ExitStack() as stack:
        ours = stack.enter_context(servers.ours(model))
        empty = stack.enter_context(servers.empty(folder))
        binary = f"{ours}/v2/models/{model.id}/infer"
        targets = {
            "ours": Target(f"{ours}/v1/models/{model.id}/predict", one, CONNECTIONS),
            "empty": Target(f"{empty}/x", one, CONNECTIONS),
            "binary": Target(binary, packed, BATCH_CONNECTIONS, as_bytes),
            "empty binary": Target(f"{empty}/x", packed, BATCH_CONNECTIONS, as_bytes),
        }
        targets.update(_add_peers(stack, folder, model, one))
        yield targets


def _add_peers(stack: ExitStack, folder: Path, model: ServedModel, one: Path) -> dict[str, Target]:
    """The other servers, as far as they can be installed and start here."""
    python = servers.make_peers_python()
    if python is None:
        return {}
    bodies = {"litserve": one, "mlserver": _write_tensor(folder, model)}
    targets: dict[str, Target] = {}
    for name, (start, path) in _PEERS.items():
        try:
            url = stack.enter_context(start(python, model, folder))
        except RuntimeError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        targets[name] = Target(f"{url}{path}", bodies[name], CONNECTIONS)
    return targets


def _write_bodies(folder: Path, model: ServedModel) -> tuple[Path, Path, int]:
    """One picture as JSON; many as bytes, and how long the JSON before these is."""
    one, packed = folder / "one.json", folder / "packed.bin"
    images_NHW = model.pictures.images_NHW
    one.write_text(json.dumps({"images": images_NHW[:1].tolist()}, separators=(",", ":")))
    size = images_NHW[:BATCH].nbytes
    tensor = {
        "name": "images",
        "shape": [BATCH, 1, 28, 28],
        "datatype": "UINT8",
        "parameters": {"binary_data_size": size},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    packed.write_bytes(head + images_NHW[:BATCH].tobytes())
    return one, packed, len(head)


def _write_tensor(folder: Path, model: ServedModel) -> Path:
    """The same picture as a tensor in JSON."""
    body = folder / "tensor.json"
    data = model.pictures.images_NHW[0].ravel().tolist()
    tensor = {"name": "images", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": data}
    body.write_text(json.dumps({"inputs": [tensor]}, separators=(",", ":")))
    return body


def _tell(loads: Loads) -> list[Row]:
    rows = [_against("litserve", loads), _p99("litserve", loads), _against("mlserver", loads)]
    return [row for row in rows if row is not None] + [_binary(loads), _empty(loads)]


def _seconds(loads: Sequence[Load]) -> list[float]:
    """Seconds a request, over all connections."""
    return [1 / load.per_second for load in loads]


def _against(peer: str, loads: Loads) -> Row | None:
    """Requests a second beside a peer's, and the median of each side's p99."""
    if peer not in loads:
        return None
    p99 = {name: statistics.median(x.p99_seconds for x in loads[name]) for name in ("ours", peer)}
    return compare(
        f"predict_json_vs_{peer}",
        _seconds(loads["ours"]),
        _seconds(loads[peer]),
        limit_seconds=statistics.median(_seconds(loads["empty"])),
        limit="an empty route",
        note=f"p99 {p99['ours'] * 1e3:.3g} and {p99[peer] * 1e3:.3g} ms",
    )


def _p99(peer: str, loads: Loads) -> Row | None:
    if peer not in loads:
        return None
    ours, other = ([x.p99_seconds for x in loads[name]] for name in ("ours", peer))
    return compare(f"predict_json_p99_vs_{peer}", ours, other)


def _binary(loads: Loads) -> Row:
    rates = sorted(BATCH * load.per_second for load in loads["binary"])
    median = statistics.median(rates)
    limit = BATCH * statistics.median(load.per_second for load in loads["empty binary"])
    return Row(
        name="predict_binary_pictures_per_second",
        value=median,
        unit="1/s",
        spread=(rates[0], rates[-1]),
        ours=median,
        limit_fraction=median / limit,
        limit="an empty route that reads the same bodies",
        note=f"{BATCH} pictures a request, UINT8",
    )


def _empty(loads: Loads) -> Row:
    rates = sorted(load.per_second for load in loads["empty"])
    median = statistics.median(rates)
    return Row(
        name="empty_route_requests_per_second",
        value=median,
        unit="1/s",
        spread=(rates[0], rates[-1]),
        ours=median,
        note="no framework, the body of one picture",
    )
