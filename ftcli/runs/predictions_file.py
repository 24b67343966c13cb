"""The predictions of a run: a CSV with a row per scored image, and next to it what is too much for a CSV.

The header is `path,sha256,label,predicted` and then `probability:<class>` for every class, so that no class name can be
mistaken for another column. Images without labels have empty ones. Names that are not valid UTF-8 keep their own bytes
(surrogateescape, both ways); names with commas, quotes or line breaks are quoted.

Of more than a million probabilities the CSV has those that people read: `path,sha256,label,predicted,confidence` and
the next four classes, `top2,confidence2` to `top5,confidence5`. All of them are in a second file, named by the SHA-256
of the CSV that it belongs to: `val.csv` and `val.csv.9f86d081884c7d65.safetensors`. The second file is written first,
and that of an earlier CSV is removed last. So after a kill at any instant the CSV has its file.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcli.errors import RunDirectoryError
from ftcli.evaluation.predictions import ROW_SUM_TOLERANCE, Predictions
from ftcli.runs.files import damaged, unreadable, write_bytes

MANY_CELLS = 1_000_000
"""With more images x classes, most probabilities are not in the CSV."""

_COLUMNS = ("path", "sha256", "label", "predicted")
_PROBABILITY = "probability:"
_CONFIDENCE = "confidence"
_TOP = 5
_TIE = 1e-8  # rounding may make two classes equally probable
_KEY = "ftcli"
_FORMAT = 1
_CHUNK = 4_000_000  # cells
_Tensors = Mapping[str, NDArray[Any]]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions whole or not at all. In a CSV, nine digits keep a float32 exactly.

    Raises RunError if a file cannot be written.
    """
    tensors = _tensors(predictions) if predictions.probabilities.size > MANY_CELLS else None
    content = _csv(predictions, tensors)
    own = _probabilities_file(path, content)
    if tensors is not None:
        write_bytes(own, _safetensors(predictions.classes, tensors))
    write_bytes(path, content)
    for file in path.parent.glob(f"{glob.escape(path.name)}.{16 * '[0-9a-f]'}.safetensors"):
        if tensors is None or file != own:
            file.unlink(missing_ok=True)


def as_kept(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities (N, C) as a resume state keeps them: many in single precision, which is half the size."""
    return probabilities.astype(np.float32).astype(np.float64) if probabilities.size > MANY_CELLS else probabilities


def read_predictions(path: Path, *, labelled: bool = True) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises RunDirectoryError, naming file and line, for a file that is missing, cut off or invalid, and for one without
    labels, which the predictions of a run always have, unless `labelled` is False.
    """
    content = _content(path)
    rows = _rows(path, content)
    line, header = next(rows, (1, []))
    file = _probabilities_file(path, content)
    classes, tensors = _classes(path, header), None
    if not classes:
        classes, tensors = _read_safetensors(file)
        if header != _header(classes, many=True):
            raise _damaged(path, 1, "the header is not that of the five most probable classes")
    index = {name: position for position, name in enumerate(classes)}
    lines, texts, names, predicted, probabilities = [], [], [], [], []
    for line, row in rows:
        if len(row) != len(header):
            raise _damaged(path, line, f"{len(row)} values where the header names {len(header)}")
        lines.append(line)
        texts.append((row[0], row[1]))
        names.append(row[2])
        predicted.append(_class_index(path, line, row[3], index))
        if tensors is None:
            probabilities.append(_numbers(path, line, row[4:]))
    if not lines:
        raise _damaged(path, line, "the file has no images")
    # Only images without labels have none in the file; a label that is missing among others is damage.
    labels = None
    if labelled or any(names) or "" in index:
        found = [_class_index(path, line, name, index) for line, name in zip(lines, names, strict=True)]
        labels = np.array(found, dtype=np.int64)
    if tensors is None:
        values = np.array(probabilities, dtype=np.float64)
    else:
        _check_shapes(file, tensors, (len(lines), len(classes)), labelled=labels is not None)
        values = _expanded(tensors, labels)
    _check(path, lines, values, np.array(predicted))
    paths, sha256 = zip(*texts, strict=True)
    return Predictions(classes, paths, sha256, labels, values)


# The CSV.


def _header(classes: tuple[str, ...], *, many: bool) -> list[str]:
    if not many:
        return [*_COLUMNS, *(_PROBABILITY + name for name in classes)]
    further = range(2, min(_TOP, len(classes)) + 1)
    return [*_COLUMNS, _CONFIDENCE, *(name for place in further for name in (f"top{place}", f"{_CONFIDENCE}{place}"))]


def _csv(predictions: Predictions, tensors: _Tensors | None) -> bytes:
    """Return the CSV: with every probability, or with those of the most probable classes."""
    classes, labels = predictions.classes, predictions.given_labels
    lines = [csv_line(_header(classes, many=tensors is not None))]
    predicted = predictions.predicted.tolist()
    rows = zip(
        predictions.paths,
        predictions.sha256,
        [""] * len(predictions) if labels is None else [classes[each] for each in labels],
        [classes[each] for each in predicted],
        strict=True,
    )
    if tensors is None:
        for row, best, probabilities in zip(rows, predicted, predictions.probabilities.tolist(), strict=True):
            lines.append(csv_line([*row, *_rounded(probabilities, best)]))
    else:
        tops = zip(tensors["top"].tolist(), tensors["top_probabilities"].tolist(), strict=True)
        for row, (top, confidences) in zip(rows, tops, strict=True):
            texts = [
                text for each, value in zip(top, confidences, strict=True) for text in (classes[each], f"{value:.9g}")
            ]
            lines.append(csv_line([*row, *texts[1:]]))
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def csv_line(values: Sequence[str]) -> str:
    """Return a CSV row without its end; names with commas, quotes or line breaks are quoted."""
    lines: list[str] = []
    # csv quotes a lone carriage return only if the line terminator contains one.
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerow(values)
    return lines[0].removesuffix("\r\n")


def _rounded(probabilities: list[float], predicted: int) -> list[str]:
    """Return nine digits of each probability, or all if rounding would change the predicted class."""
    texts = [f"{value:.9g}" for value in probabilities]
    numbers = [float(text) for text in texts]
    if numbers.index(max(numbers)) != predicted:
        return [repr(value) for value in probabilities]
    return texts


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # reading a pipe could block for ever
            raise damaged(path, "is not a predictions file")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunDirectoryError(
            "does not exist",
            where=str(path),
            hint="A run has predictions after its first epoch. Train one with: ftcli train RECIPE",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _rows(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number (from 1) of each row's end, and the row."""
    text = content.decode("utf-8", "surrogateescape")
    if not text.endswith("\n"):
        raise _damaged(path, text.count("\n") + 1, "the file ends in the middle of a line")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise _damaged(path, reader.line_num, f"not valid CSV: {error}") from error


def _classes(path: Path, header: list[str]) -> tuple[str, ...]:
    """Return the classes that the header names; none where the probabilities are in the second file."""
    columns = header[len(_COLUMNS) :]
    names = tuple(column.removeprefix(_PROBABILITY) for column in columns)
    wanted = f"{','.join(_COLUMNS)} and one {_PROBABILITY}<class> for each of two or more classes"
    prefixed = all(column.startswith(_PROBABILITY) for column in columns)
    if tuple(header[: len(_COLUMNS)]) == _COLUMNS and columns[:1] == [_CONFIDENCE]:
        return ()
    if tuple(header[: len(_COLUMNS)]) != _COLUMNS or not prefixed or len(names) < 2:
        raise _damaged(path, 1, f"the header is not {wanted}")
    if len(set(names)) != len(names):
        raise _damaged(path, 1, "the header names a class twice")
    return names


def _class_index(path: Path, line: int, name: str, index: dict[str, int]) -> int:
    if name not in index:
        raise _damaged(path, line, f"{name!r} is not one of the classes in the header")
    return index[name]


def _numbers(path: Path, line: int, texts: list[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise _damaged(path, line, f"a probability is not a number: {error}") from error


def _check(path: Path, lines: list[int], probabilities: NDArray[np.float64], predicted: NDArray[np.int64]) -> None:
    """Refuse rows that are not distributions, or whose predicted class is not the most probable one."""
    # "Not within" rather than "outside", so that NaN is refused, too.
    within = ((probabilities >= 0) & (probabilities <= 1 + ROW_SUM_TOLERANCE)).all(axis=1)
    sums = probabilities.sum(axis=1)
    named = probabilities[np.arange(len(predicted)), predicted]
    for row in np.flatnonzero(~within)[:1]:
        raise _damaged(path, lines[row], "a probability is not between 0 and 1")
    for row in np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)[:1]:
        raise _damaged(path, lines[row], f"the probabilities sum to {sums[row]:.4g}, not to 1")
    for row in np.flatnonzero(named < probabilities.max(axis=1) - _TIE)[:1]:
        raise _damaged(path, lines[row], "the predicted class is not the most probable one")


def _damaged(path: Path, line: int, message: str) -> RunDirectoryError:
    return damaged(Path(f"{path}:{line}"), message)


# The second file.


def _probabilities_file(path: Path, content: bytes) -> Path:
    """Return where the probabilities of a CSV with this content are."""
    return path.with_name(f"{path.name}.{hashlib.sha256(content).hexdigest()[:16]}.safetensors")


def _tensors(predictions: Predictions) -> dict[str, NDArray[Any]]:
    """Return the logarithms of all probabilities, and exactly those that the metrics of `compare` depend on.

    `log_probabilities` (N, C) float16; `top` (N, 5) int32, the most probable classes, of equal ones the first;
    `top_probabilities` (N, 5) and, of images with labels, `label_probabilities` (N,) float64.
    """
    probabilities = predictions.probabilities
    images, classes = probabilities.shape
    logs, top = np.empty((images, classes), np.float16), np.empty((images, min(_TOP, classes)), np.int32)
    step = max(1, _CHUNK // classes)
    for start in range(0, images, step):
        rows = slice(start, start + step)
        left = probabilities[rows].copy()
        with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, and comes back as 0
            logs[rows] = np.log(left)
        for place in range(top.shape[1]):
            top[rows, place] = left.argmax(axis=1)
            np.put_along_axis(left, top[rows, place, None], -1.0, axis=1)
    tensors = {"log_probabilities": logs, "top": top}
    tensors["top_probabilities"] = np.take_along_axis(probabilities, top, axis=1)
    if (labels := predictions.given_labels) is not None:
        tensors["label_probabilities"] = probabilities[np.arange(images), labels]
    return tensors


def _expanded(tensors: _Tensors, labels: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Return the probabilities (N, C): the exact ones, and between them the others from their logarithms."""
    top, exact = tensors["top"], tensors["top_probabilities"]
    probabilities: NDArray[np.float64] = tensors["log_probabilities"].astype(np.float64)
    np.exp(probabilities, out=probabilities)
    known, images = exact.sum(axis=1), np.arange(len(top))
    np.put_along_axis(probabilities, top, 0.0, axis=1)
    if labels is not None:
        own = tensors["label_probabilities"]
        probabilities[images, labels] = 0.0
        known += np.where((top != labels[:, None]).all(axis=1), own, 0.0)
    # Rounded logarithms must not change the sum of a row, nor which classes are its first five.
    total = probabilities.sum(axis=1)
    scale = np.divide(1 - known, total, out=np.ones_like(total), where=total > 0)
    probabilities *= np.clip(scale, 0.99, 1.01)[:, None]
    np.minimum(probabilities, np.nextafter(exact[:, -1:], 0.0), out=probabilities)
    if labels is not None:
        probabilities[images, labels] = own
    np.put_along_axis(probabilities, top, exact, axis=1)
    return probabilities


def _safetensors(classes: tuple[str, ...], tensors: _Tensors) -> bytes:
    from safetensors.numpy import save

    description = {"format": _FORMAT, "classes": classes, "crc32": _checksum(tensors)}
    return save(dict(tensors), metadata={_KEY: json.dumps(description)})


def _read_safetensors(path: Path) -> tuple[tuple[str, ...], dict[str, NDArray[Any]]]:
    """Return the classes and the arrays. Raises RunDirectoryError for a file that is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise damaged(path, "is not a file" if path.exists() else "is missing, or its CSV was edited")
    try:
        with safe_open(path, framework="np") as opened:
            description = json.loads((opened.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        if (found := description.get("format")) != _FORMAT:
            raise damaged(path, f"has format {found}; this ftcli reads format {_FORMAT}")
        classes, checksum = tuple(map(str, description["classes"])), description["crc32"]
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, f"is not a file of probabilities: {error}") from error
    if checksum != _checksum(tensors):
        raise damaged(path, "is damaged: checksum mismatch")
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise damaged(path, "names fewer than two classes, or one twice")
    return classes, tensors


def _check_shapes(path: Path, tensors: _Tensors, shape: tuple[int, int], *, labelled: bool) -> None:
    """Raise RunDirectoryError for arrays that are missing, or that do not belong to so many images and classes."""
    images, classes = shape
    kept = images, min(_TOP, classes)
    wanted: dict[str, tuple[str, tuple[int, ...]]]
    wanted = {"log_probabilities": ("float16", shape), "top": ("int32", kept), "top_probabilities": ("float64", kept)}
    wanted |= {"label_probabilities": ("float64", (images,))} if labelled else {}
    for name, (dtype, size) in wanted.items():
        if name not in tensors or (str(tensors[name].dtype), tensors[name].shape) != (dtype, size):
            raise damaged(path, f"has no {name} of {images} images and {classes} classes")
    if not ((tensors["top"] >= 0) & (tensors["top"] < classes)).all():
        raise damaged(path, "names a class that does not exist")


def _checksum(tensors: _Tensors) -> str:
    """Return the CRC-32 (hex) of every array, in the order of their names."""
    checksum = 0
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(np.ascontiguousarray(tensor).data.cast("B"), zlib.crc32(name.encode(), checksum))
    return f"{checksum:08x}"
