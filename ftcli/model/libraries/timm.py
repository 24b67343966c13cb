"""timm's models: names, input, architecture and weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ftcli.errors import ModelError
from ftcli.model.downloads import downloading, is_downloaded
from ftcli.phrases import first_line
from ftcli.records import InputSpec

PREFIX = "timm/"
_PROBE_SECONDS = 10.0


def names() -> tuple[str, ...]:
    """Return the names of all models, each as `timm/<name>`, without the tags of their weights."""
    import timm

    return tuple(f"{PREFIX}{name}" for name in timm.list_models())


def tagged_names() -> tuple[str, ...]:
    """Return the names that include the tag of their weights, each as `timm/<name>.<tag>`."""
    import timm

    return tuple(f"{PREFIX}{name}" for name in timm.list_models(pretrained=True))


def spec(name: str) -> InputSpec:
    """Return the input that the default weights were trained for.

    Where timm pads to a square, or crops after squashing, images are squashed to the square and nothing is cropped.
    Raises ModelError where the input is not a square RGB image.
    """
    import timm.data

    timm_data: Any = timm.data
    config: dict[str, Any] = timm_data.resolve_data_config(pretrained_cfg=_config(name))
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        message = f"{name} takes {channels} x {height} x {width} inputs; ftcli feeds square RGB images"
        raise ModelError(message, where="model.name", hint="Choose another model, such as resnet18.")
    squash = config["crop_mode"] != "center"
    return InputSpec(
        image_size=height,
        resize_size=height if squash else math.floor(height / config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        squash=squash,
    )


def blank(name: str, *, image_size: int) -> nn.Module:
    """Return the architecture with random weights."""
    return _create(name, image_size, pretrained=False)


def pretrained(name: str, *, image_size: int) -> nn.Module:
    """Return the architecture with the default weights, downloading them where they are not in the cache.

    Raises ModelError where timm has none, and WeightsUnavailableError.
    """
    config = _config(name)
    address = config["hf_hub_id"] or config["url"]
    if not (address or config["file"]):
        hint = "Set model.weights to a weights file or to none, or choose another model."
        raise ModelError(f"timm has no pretrained weights for {name}", where="model.weights", hint=hint)
    with torch.device("meta"):
        _create(name, image_size, pretrained=False)  # a wrong size is found before the download
    with downloading(name, str(address)), _hub_without_retries():
        return _create(name, image_size, pretrained=True)


def at_hand(name: str) -> bool:
    """Return whether the default weights are on this machine."""
    config = _config(name)
    return bool(config["file"]) or is_downloaded(hub_id=config["hf_hub_id"], url=config["url"])


def origin(name: str) -> str:
    """Return which weights the default ones are."""
    config = _config(name)
    return f"timm weights {config['hf_hub_id'] or config['url']}"


def heads(name: str, network: nn.Module) -> tuple[str, ...]:
    """Return the paths of the classifiers, in the order of the modules; raise ModelError where it has none.

    With several, the network's own forward combines their logits, in training and in evaluation. Distilled networks
    take the mean: "during standard train/finetune, inference average the classifier predictions" (timm), since without
    a teacher no classifier has labels of its own (DeiT, arXiv 2012.12877; LeViT, 2104.01136). CrossViT takes the mean,
    too (2103.14899), EfficientViM a learned weighting (2411.15241), and VOLO adds half the maximum over the tokens
    (2106.13112).
    """
    listed = _config(name)["classifier"] or ()
    modules = dict(network.named_modules())
    paths = {path for path in ((listed,) if isinstance(listed, str) else listed) if path in modules}
    if not paths:
        raise _no_classifier(name)
    # The configuration of some distilled models names only a part of their layers.
    classifiers: Any = network.get_classifier()  # type: ignore[operator]
    for part in classifiers if isinstance(classifiers, tuple | list | nn.ModuleList) else ():
        inside = {path for path, module in modules.items() if any(module is each for each in part.modules())}
        if paths.isdisjoint(inside):
            paths |= {path for path in inside if isinstance(modules[path], nn.Linear)}
    return tuple(path for path in modules if path in paths)


def translate(_name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as they are: weights files must have the names of timm's own models."""
    return dict(tensors)


def _config(name: str) -> dict[str, Any]:
    """Return the configuration of the default weights, without building the model."""
    from timm.models import get_pretrained_cfg

    found: Any = get_pretrained_cfg(name.removeprefix(PREFIX))
    assert found is not None, f"{name} is not registered"
    config: dict[str, Any] = found.to_dict()
    return {"file": None, "url": None, "hf_hub_id": None, "classifier": None} | config


def _create(name: str, image_size: int, *, pretrained: bool) -> nn.Module:
    import timm

    config = _config(name)
    if not config["classifier"]:
        raise _no_classifier(name)
    arguments: dict[str, Any] = {}
    if not config["num_classes"]:
        arguments["num_classes"] = 2  # a headless model gets a layer for the new head to replace
    if config["fixed_input_size"] and image_size != config["input_size"][-1]:
        arguments["img_size"] = image_size
    with warnings.catch_warnings(action="ignore"):
        try:
            network: nn.Module = timm.create_model(name.removeprefix(PREFIX), pretrained=pretrained, **arguments)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            if "img_size" not in arguments:
                raise
            usual = config["input_size"][-1]
            of_weights = pretrained and isinstance(error, RuntimeError)
            reason = f"its default weights are for {usual} px" if of_weights else first_line(error)
            message = f"data.image_size {image_size} does not fit {name}: {reason}"
            hint = f"Set data.image_size to {usual}, or choose another model."
            raise ModelError(message, hint=hint) from error
    return network


def _no_classifier(name: str) -> ModelError:
    hint = "Choose another model, such as resnet18."
    return ModelError(f"{name} has no classifier", where="model.name", hint=hint)


@contextmanager
def _hub_without_retries() -> Iterator[None]:
    """Use only the cache when the hub cannot be reached; its client would retry for most of a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _hub_answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _hub_answers() -> bool:
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_PROBE_SECONDS)
    except Exception:  # noqa: BLE001 - requests' or httpx's errors, by version; any of them means no
        return False
    return True
