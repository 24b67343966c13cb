"""The predictions file of a run: one CSV row per scored image.

The header is `path,sha256,label,predicted` and then `probability:<class>` for every class, so that no class name can be
mistaken for another column. Images without labels have empty ones. Names that are not valid UTF-8 keep their own bytes
(surrogateescape, both ways); names with commas, quotes or line breaks are quoted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from ftcli.errors import RunDirectoryError
from ftcli.evaluation.predictions import ROW_SUM_TOLERANCE, Predictions
from ftcli.runs.files import damaged, unreadable, write_text

_COLUMNS = ("path", "sha256", "label", "predicted")
_PROBABILITY = "probability:"
_TIE = 1e-8  # rounding may make two classes equally probable


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions whole or not at all. Nine digits keep a float32 exactly.

    Raises RunError if the file cannot be written.
    """
    lines: list[str] = []
    # csv quotes a lone carriage return only if the line terminator contains one.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    classes = predictions.classes
    writer.writerow([*_COLUMNS, *(_PROBABILITY + name for name in classes)])
    rows = zip(
        predictions.paths,
        predictions.sha256,
        [""] * len(predictions) if (labels := predictions.given_labels) is None else [classes[each] for each in labels],
        predictions.predicted.tolist(),
        predictions.probabilities.tolist(),
        strict=True,
    )
    for image, sha256, label, predicted, probabilities in rows:
        writer.writerow([image, sha256, label, classes[predicted], *_rounded(probabilities, predicted)])
    write_text(path, "".join(line.removesuffix("\r\n") + "\n" for line in lines))


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises RunDirectoryError, naming file and line, for a file that is missing, cut off or invalid.
    """
    rows = _rows(path)
    line, header = next(rows, (1, []))
    classes = _classes(path, header)
    index = {name: position for position, name in enumerate(classes)}
    lines, texts, names, predicted, probabilities = [], [], [], [], []
    for line, row in rows:
        if len(row) != len(header):
            raise _damaged(path, line, f"{len(row)} values where the header names {len(header)}")
        lines.append(line)
        texts.append((row[0], row[1]))
        names.append(row[2])
        predicted.append(_class_index(path, line, row[3], index))
        probabilities.append(_numbers(path, line, row[4:]))
    if not lines:
        raise _damaged(path, line, "the file has no images")
    values = np.array(probabilities, dtype=np.float64)
    _check(path, lines, values, np.array(predicted))
    paths, sha256 = zip(*texts, strict=True)
    # Only images without labels have none in the file; a label that is missing among others is damage.
    labels = None
    if any(names) or "" in index:
        found = [_class_index(path, line, name, index) for line, name in zip(lines, names, strict=True)]
        labels = np.array(found, dtype=np.int64)
    return Predictions(classes, paths, sha256, labels, values)


def _rounded(probabilities: list[float], predicted: int) -> list[str]:
    """Return nine digits of each probability, or all if rounding would change the predicted class."""
    texts = [f"{value:.9g}" for value in probabilities]
    numbers = [float(text) for text in texts]
    if numbers.index(max(numbers)) != predicted:
        return [repr(value) for value in probabilities]
    return texts


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number (from 1) of each row's end, and the row."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe could block for ever
            raise damaged(path, "is not a predictions file")
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError as error:
        raise RunDirectoryError(
            "does not exist",
            where=str(path),
            hint="A run has predictions after its first epoch. Train one with: ftcli train RECIPE",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not text.endswith("\n"):
        raise _damaged(path, text.count("\n") + 1, "the file ends in the middle of a line")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise _damaged(path, reader.line_num, f"not valid CSV: {error}") from error


def _classes(path: Path, header: list[str]) -> tuple[str, ...]:
    columns = header[len(_COLUMNS) :]
    names = tuple(column.removeprefix(_PROBABILITY) for column in columns)
    wanted = f"{','.join(_COLUMNS)} and one {_PROBABILITY}<class> for each of two or more classes"
    prefixed = all(column.startswith(_PROBABILITY) for column in columns)
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
