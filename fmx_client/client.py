"""The blocking client."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from fmx_client import calls, data_calls, naming, streaming, watching
from fmx_client.connection import describe, find_url, http_options
from fmx_client.errors import FmxClientError
from fmx_client.wire import Answer, Call, Emit, Flow, Pause, Read, Steps, Task, Wire, announced

P = ParamSpec("P")
I = TypeVar("I")  # noqa: E741 - items of an iteration
R = TypeVar("R")


def _method(flow: Callable[Concatenate[Wire, P], Task[R]]) -> "Callable[Concatenate[Client, P], R]":
    def method(self: "Client", *args: P.args, **kwargs: P.kwargs) -> R:
        steps = Steps(flow(self.wire, *args, **kwargs))
        for _ in self.drive(steps):
            pass  # a task hands out nothing on its way
        return steps.result

    describe(method, flow)
    return method


def _iterator(
    flow: Callable[Concatenate[Wire, P], Flow[I, None]],
) -> "Callable[Concatenate[Client, P], Iterator[I]]":
    def method(self: "Client", *args: P.args, **kwargs: P.kwargs) -> Iterator[I]:
        return self.drive(Steps(flow(self.wire, *args, **kwargs)))

    describe(method, flow)
    return method


class Client:
    """A server of fmx, over HTTP. Use it in a `with` block, or close it.

    Every method raises FmxClientError where something goes wrong (fmx_client.errors has the tree).
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        retries: int = 3,
        on_retry: Callable[[FmxClientError, float], None] | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            base_url: the server's address; else FMX_URL, else this machine at FMX_PORT or 8000.
            api_key: the key that the server knows; else FMX_API_KEY. It goes to this server alone.
            retries: how often a request is sent again where that is safe and may help.
            on_retry: called with the error and the pause before each of those.
            headers: sent with every request.
            transport: what httpx sends through; its own if not given.
        """
        url = find_url(base_url)
        self.wire = Wire(url, retries=retries, on_retry=on_retry)
        self._http = httpx.Client(transport=transport, **http_options(url, api_key, headers))

    @property
    def base_url(self) -> str:
        """The server's address."""
        return self.wire.base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    kinds = _method(calls.kinds)
    kind = _method(calls.kind)
    validate = _method(calls.validate)
    submit = _method(calls.submit)
    job = _method(calls.job)
    jobs = _iterator(calls.jobs)
    watch = _iterator(watching.watch)
    wait = _method(watching.wait)
    cancel = _method(calls.cancel)
    retry = _method(calls.retry)
    delete = _method(calls.delete)
    run = _method(calls.run)
    runs = _iterator(calls.runs)
    metrics = _method(calls.metrics)
    follow_metrics = _iterator(watching.follow_metrics)
    events = _iterator(streaming.events)
    logs = _iterator(streaming.logs)
    results = _method(calls.results)
    manifest = _method(calls.manifest)
    artifacts = _iterator(calls.artifacts)
    download = _method(calls.download)
    archive = _method(calls.archive)
    tensorboard = _method(data_calls.tensorboard)
    report = _method(calls.report)
    datasets = _iterator(data_calls.datasets)
    dataset = _method(data_calls.dataset)
    remove_dataset = _method(data_calls.remove_dataset)
    models = _iterator(calls.models)
    model = _method(calls.model)
    aliases = _iterator(naming.aliases)
    alias = _method(naming.alias)
    promote = _method(naming.promote)
    delete_alias = _method(naming.delete_alias)
    predict = _method(calls.predict)
    feature_maps = _method(calls.feature_maps)
    feature_map_sheet = _method(calls.feature_map_sheet)

    def drive(self, steps: Steps[I, R]) -> Iterator[I]:
        """Does what a flow wants, step by step, and yields the items that it hands out."""
        held = _Held()
        try:
            while (step := steps.next()) is not None:
                match step:
                    case Emit():
                        yield step.item
                        steps.reply()
                    case Pause():
                        time.sleep(step.seconds)
                        steps.reply()
                    case Call() | Read():
                        try:
                            steps.reply(self._send(step, held))
                        except (httpx.RequestError, FmxClientError) as error:
                            steps.fail(error)
        finally:
            held.close()
            steps.close()

    def _send(self, step: Call | Read, held: "_Held") -> Answer:
        if isinstance(step, Read):
            return held.read()
        held.close()
        request = step.build(self._http)
        response = self._http.send(request, stream=True, follow_redirects=step.follows_redirects)
        if step.holds(response):
            return held.hold(response)
        try:
            receiver = step.takes(response)
            if receiver is None:
                return Answer.of(response, response.read())
            receiver.begin(response.status_code, announced(response))
            for chunk in response.iter_raw():
                receiver.write(chunk)
            return Answer.of(response)
        finally:
            response.close()


class _Held:
    """The answer that a flow has open, if any."""

    def __init__(self) -> None:
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def hold(self, response: httpx.Response) -> Answer:
        self._response, self._chunks = response, response.iter_bytes()
        return Answer.of(response)

    def read(self) -> Answer:
        assert self._response is not None  # noqa: S101 - a flow reads what it has opened
        return Answer.of(self._response, next(self._chunks, b""))

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
