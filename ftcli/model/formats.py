"""The formats of `ftcli export`, one row each: their file, what they need, and the functions that write and run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A format: its main file, the packages that write and run it, and how to install them.

    `write` names a function of model/export.py and `run` one of engine/exported.py, which need torch. `runtime` is the
    package that uses the file.
    """

    file: str
    packages: tuple[str, ...]
    extra: str
    runtime: str
    write: str
    run: str


FORMATS: Mapping[str, Format] = {
    "onnx": Format(
        "model.onnx", ("onnx", "onnxscript", "onnxruntime"), "onnx", "onnxruntime", "write_onnx", "run_onnx"
    ),
    "openvino": Format(
        "model.xml", ("openvino", "onnx", "onnxscript"), "openvino", "openvino", "write_openvino", "run_openvino"
    ),
    "timm": Format("model.safetensors", ("timm",), "", "timm", "write_timm", "run_timm"),
}
