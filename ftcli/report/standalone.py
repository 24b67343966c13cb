"""Classify images with the model in this folder: python classify.py IMAGE...

Each line starts with the class. Without an image, the script checks itself on the golden ones, and exits with 1 if they
come out otherwise. It needs numpy, pillow and the runtime of the model: onnxruntime, openvino or timm.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
MODEL = json.loads((HERE / "export.json").read_text("utf-8"))


def pixels(path: Path) -> Any:
    """Return the image as the network takes it: upright, on white, resized and cropped, (S, S, 3) uint8."""
    spec = MODEL["preprocessing"]
    side, shorter = spec["image_size"], spec["image_size"] if spec["squash"] else spec["resize_size"]
    with Image.open(path) as opened:
        opened.draft(None, (shorter, shorter))  # a large JPEG is decoded at a fraction of its size
        opened.load()
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        image = image.convert("RGB")
    box = None
    if not spec["squash"]:
        width, height = image.size
        full = max(shorter, int(shorter * width / height)), max(shorter, int(shorter * height / width))
        left, top = round((full[0] - side) / 2), round((full[1] - side) / 2)
        across, down = width / full[0], height / full[1]
        box = (left * across, top * down, min((left + side) * across, width), min((top + side) * down, height))
    return np.asarray(image.resize((side, side), Image.Resampling[spec["interpolation"].upper()], box=box))


def open_model() -> Any:
    """Return a function from images (N, S, S, 3) uint8 to probabilities (N, classes), of the model's own runtime."""
    file, spec = HERE / MODEL["file"], MODEL["preprocessing"]
    mean, std = (255 * np.array(spec[name], np.float32) for name in ("mean", "std"))

    def fed(images: Any) -> Any:
        return images if MODEL["input"] == "uint8" else ((images - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)

    if MODEL["format"] == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda images: session.run(["probabilities"], {"images": fed(images)})[0]
    if MODEL["format"] == "openvino":
        import openvino

        compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda images: compiled({"images": fed(images)})["probabilities"]
    import timm
    import torch

    network = timm.create_model(f"local-dir:{HERE}", pretrained=True).eval()
    return lambda images: network(torch.from_numpy(fed(images))).softmax(dim=1).detach().numpy()


def main() -> int:
    """Classify the images that are named, or check the golden ones."""
    model = open_model()
    for name in sys.argv[1:]:
        row = model(pixels(Path(name))[None])[0]
        print(f"{MODEL['classes'][row.argmax()]} {row.max():.4f} {name}")
    if sys.argv[1:]:
        return 0
    wrong = 0
    for golden in MODEL["golden"]:
        row = model(pixels(HERE / golden["file"])[None])[0]
        wrong += bool(np.abs(row - np.array(golden["probabilities"])).max() > MODEL["tolerance"])
    print(f"{len(MODEL['golden']) - wrong} of {len(MODEL['golden'])} golden images come out as they should")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
