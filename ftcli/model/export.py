"""Export: a network as an ONNX file that takes pixels and gives probabilities, without ftcli."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ftcli.errors import ModelError
from ftcli.model.freezing import evaluating
from ftcli.model.network import Network
from ftcli.phrases import first_line

OPSET = 18
"""The operators of ONNX 1.13 (IR 10 as torch writes it), which onnxruntime loads since version 1.18 of May 2024."""

Input = Literal["uint8", "float"]


class _Deployed(nn.Module):
    """The network between pixels and probabilities.

    uint8: RGB images (N, S, S, 3), normalised inside; float: normalised images (N, 3, S, S).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, kind: Input) -> None:
        super().__init__()
        self.network = network.module
        self.kind = kind
        self.register_buffer("mean", 255 * torch.tensor(network.spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(network.spec.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits (N, classes)."""
        if self.kind == "uint8":
            images = (images.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std
        logits: Tensor = self.network(images)
        return logits.softmax(dim=1), logits


def write_onnx(network: Network, path: Path, *, kind: Input, metadata: Mapping[str, str]) -> None:
    """Write one ONNX file, the weights inside, for batches of any size; the network is on the CPU.

    Input: `images`. Outputs: `probabilities` and `logits`. Raises ModelError for a network that torch cannot export.
    """
    size = network.spec.image_size
    # Two images: torch would take a size of one for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8) if kind == "uint8" else torch.zeros(2, 3, size, size)
    with evaluating(network), warnings.catch_warnings(action="ignore"), _silent("torch.onnx", "onnxscript", "onnx_ir"):
        try:
            program = torch.onnx.export(
                _Deployed(network, kind),
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
            program.save(path, external_data=False)
        except Exception as error:  # exporters raise nearly anything
            raise ModelError(
                f"{network.name} cannot be exported to ONNX: {first_line(error)}",
                hint="Nothing was written. Use the checkpoint with ftcli predict, or train another network.",
            ) from error


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
