"""Networks: from the name in a recipe to a module with a new head, its groups and the input it expects."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from ftcli.errors import ModelError, failure_of
from ftcli.model.freezing import eval_mode
from ftcli.model.groups import Group, group_network
from ftcli.model.libraries import efficientnet_lite0
from ftcli.model.libraries import timm as timm_models
from ftcli.model.libraries import torchvision as torchvision_models
from ftcli.model.order import first_uses
from ftcli.model.weights import SourceWeights, load_exactly, load_weights, read_weights
from ftcli.phrases import first_line, listed
from ftcli.records import InputSpec


@dataclass(frozen=True, eq=False)
class Network:
    """A module with new layers, the input it expects, and its classes; cut into groups from the input to the head.

    `heads` are the paths of the new layers, in order: one, or several whose logits the network's own forward combines.
    `notices` say which weights were loaded.
    """

    name: str
    module: nn.Module
    spec: InputSpec
    classes: tuple[str, ...]
    heads: tuple[str, ...]
    notices: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups; in the order of registration where images of this size do not pass."""
        return group_network(self.module, self.heads, _first_uses(self)[0])

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

    def heads(self, name: str, network: nn.Module, /) -> tuple[str, ...]:
        """Return the paths of the classifiers, in order; raise ModelError where it has none."""

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
        return replace(network, notices=load_weights(network.module, tensors, heads=network.heads, origin=weights))
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


def fitting_outline(name: str, *, classes: Sequence[str], image_size: int | None) -> Network:
    """Outline a network that images of this size pass through.

    Raises ModelError, which names the nearest sizes that fit, where they do not, but those of its usual size do.
    """
    usual = default_spec(name).image_size

    def refusal(message: str) -> ModelError:
        near = islice((size for size in _near_sizes(image_size or usual) if _fits(name, classes, size)), _NAMED_SIZES)
        sizes = listed(sorted({usual, *near}))
        hint = f"Sizes that fit: {sizes}. Its weights were trained with {usual} px."
        return ModelError(message, where="data.image_size", hint=hint)

    try:
        outline = outline_network(name, classes=classes, image_size=image_size)
    except ModelError as error:
        if image_size is None or not _fits(name, classes, usual):
            raise
        raise refusal(error.message) from error
    reason = _first_uses(outline)[1]
    if reason is not None and _fits(name, classes, usual):
        raise refusal(f"{name} does not take images of {image_size} px: {reason}")
    return outline


def check_image_size(network: Network) -> None:
    """Raise ModelError where a real image of another size than the usual does not pass through a network.

    An outline has no values, and so does not show an index that is too large for its table.
    """
    size, usual = network.spec.image_size, default_spec(network.name).image_size
    if size == usual:
        return
    device = next(network.module.parameters()).device
    try:
        with eval_mode(network.module), torch.no_grad():
            network.module(torch.zeros(1, 3, size, size, device=device))
    except Exception as error:
        if failure_of(error) is not None:  # of the machine, such as no memory
            raise
        reason = first_line(error)
        message = f"{network.name} does not take images of {size} px: {reason}"
        raise ModelError(message, where="data.image_size", hint=f"Set data.image_size to {usual}.") from error


_NAMED_SIZES = 3


def _near_sizes(size: int) -> list[int]:
    """Return the multiples of common patches and windows around an image size, the nearest first."""
    near = {step * (size // step + offset) for step in (32, 28, 16, 14) for offset in (0, 1)}
    near |= {32 * (size // 32 + offset) for offset in (-2, -1, 2, 3)}
    return sorted((other for other in near - {size} if other > 0), key=lambda other: (abs(other - size), other))


def _fits(name: str, classes: Sequence[str], size: int) -> bool:
    try:
        return _first_uses(outline_network(name, classes=classes, image_size=size))[1] is None
    except ModelError:
        return False


_PASSES: dict[tuple[str, int, int], tuple[Mapping[str, int], str | None]] = {}


def _first_uses(network: Network) -> tuple[Mapping[str, int], str | None]:
    """Return when images first use each part of a network; or nothing, and why images of its size do not pass."""
    names = hash(tuple(network.module.state_dict()))
    key = (network.name, network.spec.image_size, names)
    if key not in _PASSES:
        try:
            _PASSES[key] = first_uses(network.module, network.spec.image_size), None
        except Exception as error:  # noqa: BLE001 - code of any model runs here
            # The messages of assertions are for people, those of torch are about shapes inside.
            words = first_line(error) if isinstance(error, AssertionError | ValueError) and str(error) else None
            _PASSES[key] = {}, words or f"a layer in it does not fit ({type(error).__name__})"
    return _PASSES[key]


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
    heads = library.heads(name, module)
    replace_heads(module, heads, classes=len(classes), seed=seed)
    return Network(name, module, spec, tuple(classes), heads)


def _load_source(network: Network, source: SourceWeights) -> tuple[str, ...]:
    """Load the body of a checkpoint, and its head if it has the same classes in the same order."""
    same = source.classes == network.classes
    in_head = tuple(f"{path}." for path in network.heads)
    tensors = {k: v for k, v in source.state_dict.items() if same or not k.startswith(in_head)}
    notices = load_weights(network.module, tensors, heads=network.heads, origin=source.origin)
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


def replace_heads(network: nn.Module, heads: Sequence[str], *, classes: int, seed: int) -> None:
    """Put a fresh layer of `classes` outputs at each of the paths, with torch's default initialisation.

    The layers depend on the seed alone, so that runs from different weights start from the same head.
    """
    with seeded(seed + _HEAD_STREAM):
        layers = [_fresh(network.get_submodule(path), path, classes=classes) for path in heads]
    for path, layer in zip(heads, layers, strict=True):
        parent, _, name = path.rpartition(".")
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
