import pytest
import torch

from fmx_ml.engine.device import cpu_threads, describe_device, memory_errors, resolve_device
from fmx_ml.errors import OutOfMemoryError, UserError


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_cuda")
def test_without_cuda() -> None:
    assert resolve_device("auto").type == "cpu"
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="asks for cuda and this worker has none"):
        resolve_device("cuda")


def test_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cuda").type == "cuda"
    assert resolve_device("cpu").type == "cpu"


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UserError, match="no device 'tpu'"):
        resolve_device("tpu")


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    assert describe_device(torch.device("cpu")) == "cpu"
    assert describe_device(torch.device("cuda")) == "cuda: Some GPU"


def test_threads_are_set_for_a_while() -> None:
    torch.set_num_threads(2)
    with cpu_threads(1) as count:
        assert (count, torch.get_num_threads()) == (1, 1)
    assert torch.get_num_threads() == 2
    with cpu_threads(None) as count:
        assert 1 <= count <= 2


def test_too_large_a_tensor_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemoryError, match="allocate") as caught, memory_errors():
        torch.empty(2**55)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_memory_errors_of_torch_and_python(error: Exception) -> None:
    with pytest.raises(OutOfMemoryError), memory_errors():
        raise error


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes differ") as caught, memory_errors():
        raise RuntimeError("shapes differ")
    assert not isinstance(caught.value, OutOfMemoryError)
