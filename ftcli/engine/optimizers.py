"""Optimizers and schedules: a rate for each group, weight decay on layers' weights, the factor of each step.

To add an optimizer: a section in recipe/keys.py, and its row in OPTIMIZERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ftcli.errors import RunDirectoryError
from ftcli.model.groups import is_vector
from ftcli.model.network import Network
from ftcli.recipe.keys import Adam, AdamW, Constant, Cosine, Optimizer, Schedule, Section, Sgd, Step

OPTIMIZERS: Mapping[type[Section], Callable[..., torch.optim.Optimizer]] = {
    Sgd: torch.optim.SGD,
    Adam: torch.optim.Adam,
    AdamW: torch.optim.AdamW,
}
"""The class of each section of the recipe; the section's keys, but `kind` and `weight_decay`, are its arguments."""

ANNEALING_EPOCHS = 2
"""The epochs in which a cosine's rates fall to near zero after patience is exhausted; decision 16 has the figures."""


def make_optimizer(network: Network, lr: Mapping[str, float | None], section: Optimizer) -> torch.optim.Optimizer:
    """Build the optimizer of one phase: two entries for each trainable group, with and without weight decay.

    Each entry has its group's name as `name` and its full rate as `base_lr`.
    """
    parameters = dict(network.module.named_parameters())
    with_decay = decayed(network.module)
    entries: list[dict[str, object]] = []
    for group in network.groups:
        rate = lr[group.name]
        if rate is None:
            continue
        weights = [parameters[name] for name in group.parameters if name in with_decay]
        others = [parameters[name] for name in group.parameters if name not in with_decay]
        for decay, chosen in ((section.weight_decay, weights), (0.0, others)):
            if chosen:
                entries.append(
                    {"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay, "name": group.name}
                )
    return OPTIMIZERS[type(section)](entries, **section.model_dump(exclude={"kind", "weight_decay"}))


def decayed(module: nn.Module) -> set[str]:
    """Return the names of the parameters that have weight decay: the matrices and kernels of layers.

    The others are vectors of any shape (biases, norms, layer scales, class tokens), tables that are looked up or added
    (embeddings of positions, biases of relative positions), and what a network of timm exempts itself.
    """
    own: Callable[[], Iterable[str]] = getattr(module, "no_weight_decay", tuple)
    exempt = set(own())
    tables = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    return {
        name
        for name, tensor in module.named_parameters()
        # Both libraries call a matrix `weight` or `in_proj_weight`, and a table by what it holds.
        if "weight" in name.rpartition(".")[2]
        and not is_vector(tensor)
        and id(tensor) not in tables
        and name not in exempt
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: Network) -> dict[str, Tensor]:
    """Return the state of an optimizer by parameter and quantity: `layer4.0.conv1.weight momentum_buffer`."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.module.named_parameters()}
    return {
        f"{names[parameter]} {quantity}": value
        for parameter, remembered in optimizer.state.items()
        for quantity, value in remembered.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Restore in a new optimizer what `optimizer_tensors` returned.

    Raises RunDirectoryError for tensors of parameters that it does not train, or of other shapes.
    """
    parameters = dict(network.module.named_parameters())
    trained = [parameter for entry in optimizer.param_groups for parameter in entry["params"]]
    positions = {parameter: position for position, parameter in enumerate(trained)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        of, _, quantity = name.rpartition(" ")
        parameter = parameters.get(of)
        if parameter is None or parameter not in positions or tensor.shape not in {parameter.shape, torch.Size()}:
            raise RunDirectoryError(
                f"the optimizer's state has {name!r} of shape {tuple(tensor.shape)}, which fits no trained weight",
                hint="The checkpoints of this run are not from one epoch; start a new run.",
            )
        state.setdefault(positions[parameter], {})[quantity] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def annealing_epochs(schedule: Schedule) -> int:
    """Return how many epochs a phase takes, if it has them left, once its patience is exhausted."""
    return ANNEALING_EPOCHS if isinstance(schedule, Cosine) else 0


def rate_factor(
    schedule: Schedule, *, step: int, steps_per_epoch: int, epochs: int, exhausted_after: int | None = None
) -> float:
    """Return the factor on every rate at a step of a phase, counted from 0.

    Warm-up rises linearly towards 1: with 3 steps of it, 1/4, 1/2, 3/4, then 1. The schedule takes the rest of the
    phase. Where patience was exhausted after so many epochs, a cosine falls to near zero in the few that follow.
    """
    if exhausted_after is not None and (left := min(annealing_epochs(schedule), epochs - exhausted_after)):
        begin = exhausted_after * steps_per_epoch
        level = rate_factor(schedule, step=begin, steps_per_epoch=steps_per_epoch, epochs=epochs)
        return level * _half_cosine((step - begin) / (left * steps_per_epoch))
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = step - warmup_steps
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, Step):
        return float(schedule.gamma ** (done // (schedule.step_epochs * steps_per_epoch)))
    assert isinstance(schedule, Cosine)
    return _half_cosine(done / (epochs * steps_per_epoch - warmup_steps))


def _half_cosine(done: float) -> float:
    """Return 1 where nothing is done, 0 where all (1.0) is."""
    return 0.5 * (1 + math.cos(math.pi * done))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every rate to its full value times `factor`."""
    for entry in optimizer.param_groups:
        entry["lr"] = entry["base_lr"] * factor
