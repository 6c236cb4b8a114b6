"""All that changes in a training: weights, the optimiser's moments, the states of generators.

It can be taken out, and put back in another process, to the same bits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from fmx_ml.engine.augmentation import Augmented
from fmx_ml.engine.checkpoint import Checkpoint, CheckpointError, Tensors, describe_maker
from fmx_ml.engine.evaluate import Examples
from fmx_ml.engine.kernel.library import TORCH
from fmx_ml.engine.kernel.network import Network
from fmx_ml.models.dropout import Dropout
from fmx_ml.specs import OptimiserSpec

Parts = Sequence[tuple[str, torch.Size]]
"""Names and shapes of the weights that a parameter consists of, in their order."""


def slots_of(spec: OptimiserSpec) -> tuple[str, ...]:
    """What an optimiser remembers of each weight, by torch's names."""
    if spec.name == "SGD":
        return ("momentum_buffer",) if spec.momentum else ()
    return ("exp_avg", "exp_avg_sq")


def find_generators(
    model: nn.Module, train: Examples, order: torch.Generator
) -> dict[str, torch.Generator]:
    """The generators that a training draws from, by what for."""
    found = {"order": order}
    if isinstance(train, Augmented):
        found["augmentation"] = train.generator
    for module in model.modules():
        if isinstance(module, Dropout) and module.share and module.generator is not None:
            found["dropout"] = module.generator
    return found


@dataclass(frozen=True)
class Learner:
    """A model that learns, and with what."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LambdaLR | None
    slots: Sequence[str]
    generators: Mapping[str, torch.Generator]

    @property
    def maker(self) -> str:
        """What its last bits depend on."""
        engine = self.model.engine if isinstance(self.model, Network) else TORCH
        return describe_maker(engine, next(self.model.parameters()).device)

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """Copies of what the optimiser remembers, by slot and weight."""
        return {slot: dict(self._copy(slot)) for slot in self.slots}

    def states(self) -> dict[str, Tensor]:
        """The generators' states, by their names."""
        return {name: generator.get_state() for name, generator in self.generators.items()}

    def restore(self, checkpoint: Checkpoint, num_steps: int) -> None:
        """Puts everything as it was, after so many steps.

        Raises CheckpointError where it does not fit; nothing has changed then.
        """
        weights = self.model.state_dict()
        shapes = {name: weight.shape for name, weight in weights.items()}
        require_fit(checkpoint.last_weights, shapes)
        require_fit(checkpoint.best_weights, shapes)
        moments = {
            weight: self._rebuild(checkpoint, weight, parts) for weight, parts in self._all()
        }
        require_states(checkpoint.generators, self.generators)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(checkpoint.last_weights[name])
        for name, generator in self.generators.items():
            generator.set_state(checkpoint.generators[name])
        for weight, state in moments.items():
            if state:
                self.optimiser.state[weight] = state | self._step(weight, num_steps)
        self._set_rate(num_steps)

    def _all(self) -> Iterator[tuple[nn.Parameter, Parts]]:
        """Each parameter that learns, and what it consists of."""
        if isinstance(self.model, Network):
            yield self.model.weights_P, self.model.parts
            return
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                yield weight, [(name, weight.shape)]

    def _copy(self, slot: str) -> Iterator[tuple[str, Tensor]]:
        for weight, parts in self._all():
            moment: Tensor = self.optimiser.state[weight][slot]
            if len(parts) == 1:
                yield parts[0][0], moment.clone()
                continue
            pieces = moment.split([shape.numel() for _, shape in parts])
            for (name, shape), piece in zip(parts, pieces, strict=True):
                yield name, piece.view(shape).clone()

    def _rebuild(
        self, checkpoint: Checkpoint, weight: nn.Parameter, parts: Parts
    ) -> dict[str, Tensor]:
        """The moments of a parameter, in memory laid out as its own: fused steps rely on that."""
        rebuilt: dict[str, Tensor] = {}
        for slot in self.slots:
            found = checkpoint.moments.get(slot, {})
            require_fit({name: found[name] for name, _ in parts if name in found}, dict(parts))
            whole = torch.cat([found[name].flatten() for name, _ in parts]).view(weight.shape)
            rebuilt[slot] = torch.empty_like(weight, requires_grad=False).copy_(whole)
        return rebuilt

    def _step(self, weight: nn.Parameter, num_steps: int) -> dict[str, Tensor]:
        """What Adam counts."""
        if not isinstance(self.optimiser, torch.optim.Adam | torch.optim.AdamW):
            return {}
        return {"step": torch.tensor(float(num_steps), device=weight.device)}

    def _set_rate(self, num_steps: int) -> None:
        if self.schedule is None:
            return
        self.schedule.last_epoch = num_steps
        pairs = zip(self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True)
        rates = [rate * factor(num_steps) for rate, factor in pairs]
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate


def require_fit(tensors: Tensors, shapes: Mapping[str, torch.Size]) -> None:
    """Raises CheckpointError unless there is one tensor of each name and shape."""
    if {name: tensor.shape for name, tensor in tensors.items()} != dict(shapes):
        raise CheckpointError("its weights are those of another network")


def require_states(states: Tensors, generators: Mapping[str, torch.Generator]) -> None:
    """Raises CheckpointError unless there is a state for each generator."""
    for name, generator in generators.items():
        try:
            torch.Generator(generator.device).set_state(states[name])
        except (KeyError, RuntimeError, TypeError) as error:
            raise CheckpointError(f"it has no state of the generator for {name}") from error
