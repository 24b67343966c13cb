"""Networks: from the name in a recipe to a module with a new head, its groups and the input it expects."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from ftcli.errors import ModelError
from ftcli.model.freezing import eval_mode
from ftcli.model.groups import Group, group_network
from ftcli.model.libraries import efficientnet_lite0
from ftcli.model.libraries import timm as timm_models
from ftcli.model.libraries import torchvision as torchvision_models
from ftcli.model.weights import SourceWeights, load_exactly, load_weights, read_weights
from ftcli.phrases import first_line
from ftcli.records import InputSpec


@dataclass(frozen=True, eq=False)
class Network:
    """A module with its groups from the input to the head, the input it expects, and its classes.

    `head` is the path of the new layer; `notices` say which weights were loaded.
    """

    name: str
    module: nn.Module
    groups: tuple[Group, ...]
    spec: InputSpec
    classes: tuple[str, ...]
    head: str
    notices: tuple[str, ...] = ()

    @property
    def parameter_counts(self) -> dict[str, int]:
        """The number of parameters of each group."""
        return {group.name: group.parameter_count for group in self.groups}


class Library(Protocol):
    """A source of models. The modules in `model/libraries/` implement it with their functions."""

    def names(self) -> tuple[str, ...]:
        """Return the names of its models, as in a recipe."""

    def spec(self, name: str, /) -> InputSpec:
        """Return the input that the default weights were trained for."""

    def blank(self, name: str, /, *, image_size: int) -> nn.Module:
        """Return the architecture with random weights."""

    def pretrained(self, name: str, /, *, image_size: int) -> nn.Module:
        """Return the architecture with the default weights."""

    def at_hand(self, name: str, /) -> bool:
        """Return whether the default weights are on this machine, so that nothing is downloaded."""

    def origin(self, name: str, /) -> str:
        """Return which weights the default ones are."""

    def head(self, name: str, network: nn.Module, /) -> str:
        """Return the path of the last layer."""

    def translate(self, name: str, tensors: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """Rename tensors of weights files that use other names."""


def build_network(
    name: str,
    weights: str,
    *,
    classes: Sequence[str],
    seed: int,
    image_size: int | None = None,
    source: SourceWeights | None = None,
) -> Network:
    """Build the network of a recipe; `weights` is `default`, `none` or the path of a weights file.

    With `source`, the tensors of an ftcli checkpoint, `weights` is ignored. Random numbers come from `seed`.
    Raises ModelError, and WeightsUnavailableError where default weights cannot be downloaded.
    """
    library = _library(name)
    spec = _sized(source.spec if source and source.spec else library.spec(name), image_size)
    if source is None and weights == "default":
        with seeded(seed):
            module = library.pretrained(name, image_size=spec.image_size)
        network = _headed(library, name, module, classes=classes, seed=seed, spec=spec)
        return replace(network, notices=(f"{library.origin(name)}: the body was loaded; the head is new",))
    tensors = None if source or weights == "none" else library.translate(name, read_weights(Path(weights)))
    network = _random_network(library, name, classes=classes, seed=seed, spec=spec)
    if source is not None:
        return replace(network, notices=_load_source(network, source))
    if tensors is not None:
        return replace(network, notices=load_weights(network.module, tensors, head=network.head, origin=weights))
    return network


def to_download(name: str) -> str | None:
    """Return which default weights would be downloaded; None where they are on this machine."""
    library = _library(name)
    return None if library.at_hand(name) else library.origin(name)


def outline_network(name: str, *, classes: Sequence[str], image_size: int | None = None) -> Network:
    """Build the network on the meta device, without weights: quick, for whatever needs only shapes and names."""
    library = _library(name)
    spec = _sized(library.spec(name), image_size)
    with torch.device("meta"):
        return _random_network(library, name, classes=classes, seed=0, spec=spec)


def check_image_size(outline: Network) -> None:
    """Raise ModelError where images of the outline's size do not pass through it, but those of its default size do."""
    size, usual = outline.spec.image_size, default_spec(outline.name).image_size
    reason = _why_not(outline.module, size)
    if reason is not None and _why_not(outline.module, usual) is None:
        message = f"{outline.name} does not take images of {size} px: {reason}"
        raise ModelError(message, where="data.image_size", hint=f"Its weights were trained with {usual} px.")


def _why_not(outline: nn.Module, size: int) -> str | None:
    """Return why a batch of images does not pass; None where it does."""
    try:
        with eval_mode(outline):
            outline(torch.empty(2, 3, size, size, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        return first_line(error)
    return None


def restore_network(
    name: str, *, classes: Sequence[str], spec: InputSpec, state_dict: Mapping[str, Tensor], origin: str
) -> Network:
    """Rebuild the network of a checkpoint with exactly its tensors.

    Raises ModelError, naming the checkpoint as `origin`, if they do not fit or the model is unknown.
    """
    try:
        library = _library(name)
    except ModelError as error:
        raise ModelError(error.message, where=origin, hint=error.hint) from error
    network = _random_network(library, name, classes=classes, seed=0, spec=spec)
    load_exactly(network.module, state_dict, origin=origin)
    return network


def model_names() -> tuple[str, ...]:
    """Return the name of every model: torchvision's, the built-in one, then timm's as `timm/<name>`."""
    return (*torchvision_models.names(), *efficientnet_lite0.names(), *timm_models.names())


def default_spec(name: str) -> InputSpec:
    """Return the input that the default weights of a model were trained for."""
    return _library(name).spec(name)


def _library(name: str) -> Library:
    """Return the library of a model; raise ModelError with the nearest names if no library has it."""
    if name == efficientnet_lite0.NAME:
        return efficientnet_lite0
    if name.startswith(timm_models.PREFIX):
        if name in timm_models.names() or name in timm_models.tagged_names():
            return timm_models
    elif name in torchvision_models.names():
        return torchvision_models
    near = _near(name)
    hint = f"Did you mean {', '.join(near)}?" if near else "Names are those of torchvision, or of timm as timm/NAME."
    raise ModelError(f"unknown model {name!r}", where="model.name", hint=hint)


def _near(name: str) -> list[str]:
    """Return the nearest names, preferring the same name in the other library."""
    names = (*model_names(), *(timm_models.tagged_names() if "." in name else ()))
    bare = name.removeprefix(timm_models.PREFIX)
    moved = [other for other in (bare, f"{timm_models.PREFIX}{bare}") if other in names]
    return [*moved, *(near for near in difflib.get_close_matches(name, names, n=4) if near not in moved)][:4]


def _sized(spec: InputSpec, image_size: int | None) -> InputSpec:
    return spec if image_size is None else spec.resized(image_size)


def _random_network(library: Library, name: str, *, classes: Sequence[str], seed: int, spec: InputSpec) -> Network:
    with seeded(seed):
        module = library.blank(name, image_size=spec.image_size)
    return _headed(library, name, module, classes=classes, seed=seed, spec=spec)


def _headed(
    library: Library, name: str, module: nn.Module, *, classes: Sequence[str], seed: int, spec: InputSpec
) -> Network:
    head = library.head(name, module)
    replace_head(module, head, classes=len(classes), seed=seed)
    return Network(name, module, group_network(module, head), spec, tuple(classes), head)


def _load_source(network: Network, source: SourceWeights) -> tuple[str, ...]:
    """Load the body of a checkpoint, and its head if it has the same classes in the same order."""
    same = source.classes == network.classes
    tensors = {k: v for k, v in source.state_dict.items() if same or not k.startswith(f"{network.head}.")}
    notices = load_weights(network.module, tensors, head=network.head, origin=source.origin)
    if same:
        return (f"{source.origin}: the whole network was loaded, with its head, since the classes are the same",)
    return (*notices, f"{source.origin}: its head was not loaded, since its classes are not those of the dataset")


_HEAD_STREAM = 1 << 32
"""Keeps the head's random numbers apart from those of the body with the same seed."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a generator that starts at `seed`, and leave the global one as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also reseed every accelerator.
        torch.default_generator.manual_seed(seed)
        yield


def replace_head(network: nn.Module, head: str, *, classes: int, seed: int) -> None:
    """Put a fresh layer of `classes` outputs at the path `head`, with torch's default initialisation.

    The layer depends on the seed alone, so that runs from different weights start from the same head.
    """
    with seeded(seed + _HEAD_STREAM):
        layer = _fresh(network.get_submodule(head), head, classes=classes)
    parent, _, name = head.rpartition(".")
    # Not setattr: Sequential keeps its children under numbers.
    network.get_submodule(parent).register_module(name, layer)
    if isinstance(getattr(network, "num_classes", None), int):
        network.num_classes = classes  # type: ignore[assignment]


def _fresh(old: nn.Module, head: str, *, classes: int) -> nn.Linear | nn.Conv2d:
    device = next(old.parameters(), torch.empty(0)).device
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, classes, bias=old.bias is not None, device=device)
    if isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1) and old.groups == 1:
        return nn.Conv2d(old.in_channels, classes, kernel_size=1, bias=old.bias is not None, device=device)
    message = f"its last layer {head!r} is a {type(old).__name__}, not a linear layer or a 1x1 convolution"
    raise ModelError(message, hint="Choose another model, such as resnet18.")
