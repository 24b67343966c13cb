"""Export: a network as a file of another runtime."""

from __future__ import annotations

import io
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from ftcli.errors import ModelError
from ftcli.model.freezing import evaluating
from ftcli.model.libraries import efficientnet_lite0
from ftcli.model.libraries import timm as timm_models
from ftcli.model.network import Network
from ftcli.phrases import first_line
from ftcli.records import InputSpec

OPSET = 18
"""The operators of ONNX 1.13 (IR 10 as torch writes it), which onnxruntime loads since version 1.18 of May 2024."""


class _Deployed(nn.Module):
    """The network between pixels and probabilities.

    It takes uint8 RGB images (N, S, S, 3), which it normalises, or float32 images (N, 3, S, S) that are normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, *, takes_pixels: bool) -> None:
        super().__init__()
        self.network = network.module
        self.takes_pixels = takes_pixels
        self.register_buffer("mean", 255 * torch.tensor(network.spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(network.spec.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits (N, classes)."""
        if self.takes_pixels:
            images = (images.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std
        logits: Tensor = self.network(images)
        return logits.softmax(dim=1), logits


def write_onnx(network: Network, file: Path, about: Mapping[str, Any]) -> None:
    """Write one ONNX file, the weights inside, for batches of any size; the network is on the CPU.

    It has one input, `images`, and gives `probabilities` and `logits`. Raises ModelError for a network that torch
    cannot export.
    """
    takes_pixels, size = about["input"] == "uint8", network.spec.image_size
    # Two images: torch would take a size of one for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8) if takes_pixels else torch.zeros(2, 3, size, size)
    # The standard keys for images (onnx/docs/MetadataProps.md), and one JSON object with everything.
    metadata = {
        "ftcli": json.dumps(about),
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255" if takes_pixels else "Normalized_0_1",
    }
    with evaluating(network), warnings.catch_warnings(action="ignore"), _silent("torch.onnx", "onnxscript", "onnx_ir"):
        try:
            program = torch.onnx.export(
                _Deployed(network, takes_pixels=takes_pixels),
                (example,),
                dynamo=True,
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=2**20)}},
                opset_version=OPSET,
                input_names=["images"],
                output_names=["probabilities", "logits"],
                verbose=False,
            )
            assert program is not None, "dynamo returns a program"
            program.model.metadata_props.update(metadata)
            program.save(file, external_data=False)
        except Exception as error:  # exporters raise nearly anything
            raise _cannot(network, "ONNX", error) from error


def write_openvino(network: Network, file: Path, about: Mapping[str, Any]) -> None:
    """Write OpenVINO's IR in float32, from ONNX: `file` and the weights in a .bin of the same name.

    Its rt_info has the same JSON object under `ftcli`, and what OpenVINO's Model API reads under `model_info`. Raises
    ModelError for a network that cannot be converted.
    """
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        onnx_file = Path(folder) / "model.onnx"
        write_onnx(network, onnx_file, about)
        try:
            model = openvino.convert_model(onnx_file)
            model.set_rt_info(json.dumps(about), ["ftcli"])
            for key, value in _model_info(network, about).items():
                model.set_rt_info(value, ["model_info", key])
            openvino.save_model(model, file, compress_to_fp16=False)
        except Exception as error:
            raise _cannot(network, "OpenVINO", error) from error


def quantize_openvino(file: Path, fed: Sequence[NDArray[Any]]) -> None:
    """Replace an IR file by one in int8, calibrated by nncf on images as the file takes them, one in each batch.

    Post-training quantization with fast bias correction; activations and weights in 8 bits.
    """
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(file)
    # nncf draws its progress on stdout, which is for results.
    with redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"), _silent("nncf", "torch"):
        quantized = nncf.quantize(model, nncf.Dataset(fed), subset_size=len(fed))
    # The old weights are still mapped into memory, so they must not be overwritten in place.
    fresh = file.with_name(f"int8-{file.name}")
    openvino.save_model(quantized, fresh, compress_to_fp16=False)
    for suffix in (".bin", ".xml"):
        fresh.with_suffix(suffix).replace(file.with_suffix(suffix))


def _model_info(network: Network, about: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of OpenVINO's Model API, which separates class names by spaces."""
    spec, takes_pixels = network.spec, about["input"] == "uint8"
    scales = {} if takes_pixels else {
        "mean_values": " ".join(f"{255 * value:g}" for value in spec.mean),
        "scale_values": " ".join(f"{255 * value:g}" for value in spec.std),
    }  # fmt: skip
    return {
        "model_type": "Classification",
        "labels": " ".join(name.replace(" ", "_") for name in network.classes),
        "reverse_input_channels": "True",
        "resize_type": "standard" if spec.squash else "crop",
        "interpolation_mode": {"bilinear": "LINEAR", "bicubic": "CUBIC", "nearest": "NEAREST"}[spec.interpolation],
        "output_raw_scores": "False",
        **scales,
    }


def write_timm(network: Network, file: Path, about: Mapping[str, Any]) -> None:
    """Write weights and config.json as timm's `local-dir:` and transformers' pipeline load them.

    `crop_pct` is chosen so that timm's own rounding gives the size before the crop. Raises ModelError for a network
    that timm does not have.
    """
    name = timm_name(network.name)
    if name is None:
        raise ModelError(
            f"{network.name} cannot be exported to timm, which has no network of the same layers",
            hint="Export it to onnx or openvino, or train timm's own network of that kind: see model.name.",
        )
    import timm

    registered: Any = timm.models.get_pretrained_cfg(name)
    spec, own = network.spec, dict(registered.to_dict())
    resized = own.get("fixed_input_size") and spec.image_size != own["input_size"][-1]
    arguments: dict[str, Any] = {"img_size": spec.image_size} if resized else {}
    theirs = timm.create_model(name, num_classes=len(network.classes), **arguments)
    try:
        theirs.load_state_dict(network.module.state_dict())
    except RuntimeError as error:
        raise _cannot(network, "timm", error) from error
    kept = {
        key: own[key] for key in ("pool_size", "first_conv", "classifier", "fixed_input_size", "license") if key in own
    }
    config = {
        "architecture": name,
        "num_classes": len(network.classes),
        "num_features": theirs.num_features,
        "label_names": list(network.classes),
        "label_descriptions": {each: each for each in network.classes},
        "model_args": arguments,
        "pretrained_cfg": {
            **kept,
            "tag": "ftcli",
            "custom_load": False,
            "num_classes": len(network.classes),
            "input_size": [3, spec.image_size, spec.image_size],
            "interpolation": spec.interpolation,
            "crop_pct": 1.0 if spec.squash else _crop_share(spec),
            "crop_mode": "squash" if spec.squash else "center",
            "mean": list(spec.mean),
            "std": list(spec.std),
        },
    }
    metadata = {"format": "pt", "ftcli": json.dumps(about)}
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in network.module.state_dict().items()}
    save_file(tensors, file, metadata=metadata)
    file.with_name("config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def timm_name(name: str) -> str | None:
    """Return timm's name of a network whose layers have the same names there; None for another."""
    import timm

    if name.startswith(timm_models.PREFIX):
        return name.removeprefix(timm_models.PREFIX)
    if name == efficientnet_lite0.NAME:
        return "tf_efficientnet_lite0"
    same = name.startswith(("resnet", "resnext", "wide_resnet", "densenet")) and timm.is_model(name)
    return name if same else None


def _crop_share(spec: InputSpec) -> float:
    """Return the crop's share of the resized side, for which timm's floor(size / share) is that side."""
    share = spec.image_size / spec.resize_size
    while int(spec.image_size / share) < spec.resize_size:
        share = math.nextafter(share, 0)
    return share


def _cannot(network: Network, what: str, error: Exception) -> ModelError:
    return ModelError(
        f"{network.name} cannot be exported to {what}: {first_line(error)}",
        hint="Nothing was written. Choose another --format, or use the checkpoint with ftcli predict.",
    )


class _silent:  # noqa: N801 (a context manager)
    """Silence the loggers of these names, whose messages are for developers of exporters."""

    def __init__(self, *names: str) -> None:
        self.loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.CRITICAL)

    def __exit__(self, *_raised: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)
