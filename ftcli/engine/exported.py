"""The runtimes of exported files: each as a function from images to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ftcli.data.transforms import normalise
from ftcli.model.freezing import eval_mode
from ftcli.records import InputSpec

Run = Callable[[Tensor], NDArray[np.float32]]
"""Takes uint8 images (n, 3, S, S), and returns probabilities (n, classes)."""


def run_onnx(file: Path, spec: InputSpec) -> Run:
    """Load an ONNX file with onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    takes_pixels = session.get_inputs()[0].type == "tensor(uint8)"

    def run(images: Tensor) -> NDArray[np.float32]:
        (rows,) = session.run(["probabilities"], {"images": fed_images(images, spec, takes_pixels=takes_pixels)})
        return np.asarray(rows)

    return run


def run_openvino(file: Path, spec: InputSpec) -> Run:
    """Load an IR file with OpenVINO, on the CPU in float32."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    takes_pixels = compiled.input("images").get_element_type() == openvino.Type.u8

    def run(images: Tensor) -> NDArray[np.float32]:
        return np.array(compiled({"images": fed_images(images, spec, takes_pixels=takes_pixels)})["probabilities"])

    return run


def run_timm(file: Path, spec: InputSpec) -> Run:
    """Load a directory with timm, on the CPU."""
    import timm

    module = timm.create_model(f"local-dir:{file.parent}", pretrained=True)

    def run(images: Tensor) -> NDArray[np.float32]:
        with eval_mode(module), torch.inference_mode():
            rows: NDArray[np.float32] = module(normalise(images, spec)).softmax(dim=1).numpy()
        return rows

    return run


def fed_images(images: Tensor, spec: InputSpec, *, takes_pixels: bool) -> NDArray[Any]:
    """Return uint8 images (n, 3, S, S) as an exported file takes them: NHWC pixels, or normalised NCHW floats."""
    return np.asarray((images.permute(0, 2, 3, 1) if takes_pixels else normalise(images, spec)).contiguous().numpy())
