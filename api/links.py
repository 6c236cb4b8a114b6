"""Where an answer leads: the OpenAPI links from one operation's answer to the next operation."""

from collections.abc import Mapping
from typing import Any, cast

Links = dict[str, dict[str, Any]]

_OF_JOB = {
    "get_job": "Show it.",
    "cancel_job": "Cancel it.",
    "retry_job": "Run again what did not succeed.",
    "delete_job": "Delete it.",
    "get_events": "Follow what happens to it.",
    "get_logs": "Read what its runs print.",
    "get_runs": "List its runs.",
    "get_results": "Show its results.",
    "get_manifest": "Show what its results were made from.",
    "get_artifacts": "List its files.",
    "get_archive": "Download its files.",
    "get_event_files": "Download its epochs for TensorBoard.",
}
_OF_RUN = {"get_run": "Show it.", "get_metrics": "Show its epochs."}
_OF_MODEL = {
    "get_model": "Show it.",
    "predict": "Predict with it.",
    "make_feature_maps": "Show its feature maps.",
    "get_tensors": "Tell what it takes and gives.",
    "get_model_readiness": "Tell that it can predict.",
    "get_config": "Tell how it is served.",
    "get_model_statistics": "Tell what it was asked.",
    "load_model": "Load it into memory.",
    "unload_model": "Take it out of memory.",
    "infer": "Predict with it from tensors.",
}


def _lead(targets: Mapping[str, str], parameters: Mapping[str, str]) -> Links:
    """Links to operations, all with the same parameters."""
    return {
        name: {"operationId": name, "parameters": dict(parameters), "description": text}
        for name, text in targets.items()
    }


_THIS, _FIRST = "$response.body#/id", "$response.body#/items/0/id"
_OF_ALIAS = {"get_alias": "Show it.", "delete_alias": "Delete it."}
_FIRST_FILE = {"job_id": "$request.path.job_id", "path": "$response.body#/items/0/path"}

# By operation and the status of its answer.
LINKS: dict[tuple[str, str], Links] = {
    **{
        source: _lead(_OF_JOB, {"job_id": _THIS})
        for source in [
            ("post_job", "202"),
            ("get_job", "200"),
            ("cancel_job", "202"),
            ("retry_job", "202"),
        ]
    },
    ("get_jobs", "200"): _lead(_OF_JOB, {"job_id": _FIRST}),
    ("get_runs", "200"): _lead(_OF_RUN, {"run_id": _FIRST}),
    ("get_run", "200"): {
        **_lead(_OF_RUN, {"run_id": _THIS}),
        **_lead({"get_job": "Show its job."}, {"job_id": "$response.body#/job"}),
    },
    ("get_artifacts", "200"): _lead({"get_artifact": "Download the first."}, _FIRST_FILE),
    ("get_aliases", "200"): _lead(_OF_ALIAS, {"name": "$response.body#/items/0/name"}),
    ("get_alias", "200"): _lead(_OF_MODEL, {"model_id": "$response.body#/model"}),
    ("get_datasets", "200"): _lead(
        {"get_dataset": "Show it.", "delete_dataset": "Remove it."},
        {"name": "$response.body#/items/0/name"},
    ),
    ("get_models", "200"): _lead(_OF_MODEL, {"model_id": _FIRST}),
    ("get_model", "200"): {
        **_lead(_OF_MODEL, {"model_id": _THIS}),
        **_lead({"get_job": "Show its job."}, {"job_id": "$response.body#/job"}),
    },
}


def add_links(document: Mapping[str, Any]) -> None:
    """Puts the links into an OpenAPI document, whose operations are found by their ids."""
    for item in document["paths"].values():
        for operation in cast("dict[str, Any]", item).values():
            for status, response in operation["responses"].items():
                if links := LINKS.get((operation["operationId"], status)):
                    response["links"] = links
