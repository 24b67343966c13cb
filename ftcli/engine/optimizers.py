"""Optimizers and schedules: a rate for each group, weight decay on matrices only, the factor of each step.

To add an optimizer: a section in recipe/keys.py, and its row in OPTIMIZERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ftcli.errors import RunDirectoryError
from ftcli.model.network import Network
from ftcli.recipe.keys import Adam, AdamW, Constant, Cosine, Optimizer, Schedule, Section, Sgd, Step

OPTIMIZERS: Mapping[type[Section], Callable[..., torch.optim.Optimizer]] = {
    Sgd: torch.optim.SGD,
    Adam: torch.optim.Adam,
    AdamW: torch.optim.AdamW,
}
"""The class of each section of the recipe; the section's keys, but `kind` and `weight_decay`, are its arguments."""

NO_DECAY_NDIM = 1
"""Parameters of at most this many dimensions (biases and the weights of norms) have no weight decay."""


def make_optimizer(network: Network, lr: Mapping[str, float | None], section: Optimizer) -> torch.optim.Optimizer:
    """Build the optimizer of one phase: two entries for each trainable group, with and without weight decay.

    Each entry has its group's name as `name` and its full rate as `base_lr`.
    """
    parameters = dict(network.module.named_parameters())
    entries: list[dict[str, object]] = []
    for group in network.groups:
        rate = lr[group.name]
        if rate is None:
            continue
        tensors = [parameters[name] for name in group.parameters]
        matrices = [tensor for tensor in tensors if tensor.ndim > NO_DECAY_NDIM]
        vectors = [tensor for tensor in tensors if tensor.ndim <= NO_DECAY_NDIM]
        for decay, chosen in ((section.weight_decay, matrices), (0.0, vectors)):
            if chosen:
                entries.append(
                    {"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay, "name": group.name}
                )
    return OPTIMIZERS[type(section)](entries, **section.model_dump(exclude={"kind", "weight_decay"}))


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


def rate_factor(schedule: Schedule, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor on every rate at a step of a phase, counted from 0.

    Warm-up rises linearly towards 1: with 3 steps of it, 1/4, 1/2, 3/4, then 1. The schedule takes the rest of the
    phase.
    """
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = step - warmup_steps
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, Step):
        return float(schedule.gamma ** (done // (schedule.step_epochs * steps_per_epoch)))
    assert isinstance(schedule, Cosine)
    return 0.5 * (1 + math.cos(math.pi * done / (epochs * steps_per_epoch - warmup_steps)))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every rate to its full value times `factor`."""
    for entry in optimizer.param_groups:
        entry["lr"] = entry["base_lr"] * factor
