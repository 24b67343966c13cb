"""Labels that may be wrong: images that look like another class to a classifier that has not seen them.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068) on a network's features. A logistic regression
gives each image probabilities from the images of other folds. A class's threshold is the mean probability of that class
over the images labelled so: how sure the classifier is where the label is right. An image is a suspect if its
probability of another class reaches that class's threshold, and is the highest among those that reach theirs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftcli.data.checks.findings import Case, Finding, Suspect
from ftcli.data.checks.look_alikes import Directions, Embeddings
from ftcli.data.dataset import Dataset, Sample
from ftcli.phrases import count

FOLDS = 5

STRENGTH = 1e-2
"""The L2 strength, of features divided by their root mean square: the figures of docs/checking-data.md hold for it."""

MIN_IMAGES = 20
"""With fewer images, probabilities from other folds say little."""

MOST_PRODUCTS = 10**10
"""Images times channels times classes beyond which the fits would take more than some minutes.

Nothing is searched either where the classifier's mean recall is nearer to that of guessing than to 1: on features that
show little of the classes, such as those of random weights, half of the images would be suspects.
"""

_TOLERANCE, _ITERATIONS = 1e-3, 200

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Images with one label each, and their directions (N, C), labels (N,) and clusters (N,)."""

    samples: tuple[Sample, ...]
    directions: Directions
    labels: Integers
    clusters: Integers


def suspect_findings(
    dataset: Dataset, embeddings: Embeddings | None, sha256_of: Mapping[str, str]
) -> Iterator[Finding]:
    """Find images of all splits whose label may be wrong, the most suspicious first; nothing without features."""
    found = None if embeddings is None else _labelled(dataset, embeddings, sha256_of)
    if found is None or embeddings is None:
        return
    products = found.directions.size * len(dataset.classes)
    if products > MOST_PRODUCTS:
        message = f"Wrong labels were not searched: {count(len(found.samples), 'image')} are too many for it."
        yield Finding("info", "labels-not-searched", message, "Check a part of the classes in a folder of their own.")
        return
    probabilities = out_of_fold(found.directions, found.labels, found.clusters)
    recall = _mean_recall(probabilities, found.labels)
    if recall < (1 + 1 / len(np.unique(found.labels))) / 2:
        message = (
            f"Wrong labels were not searched: the features of {embeddings.model} separate the classes too little "
            f"(a mean recall of {recall:.0%})."
        )
        yield Finding("info", "labels-not-searched", message, "Use --features, or train a run with other weights.")
        return
    cases = []
    for row, suggested in suspects(probabilities, found.labels):
        sample, probability = found.samples[row], float(probabilities[row, suggested])
        given, other = dataset.classes[sample.label], dataset.classes[suggested]
        note = f"labelled {given}, looks like {other} ({probability:.0%})"
        cases.append(Case((sample.name,), note, suspect=Suspect(given, other, round(probability, 4))))
    if cases:
        message = (
            f"{count(len(cases), 'image')} may have a wrong label: to a classifier on the features of "
            f"{embeddings.model}, fitted to the other images, they look like another class."
        )
        advice = "Look at them, the first ones above all: rare views of a class are among them, too."
        yield Finding("warning", "label-suspect", message, advice, tuple(cases))


def _labelled(dataset: Dataset, embeddings: Embeddings, sha256_of: Mapping[str, str]) -> _Labelled | None:
    """Return every content with features and one label, once; None where there are too few to judge any."""
    of_content: dict[str, list[Sample]] = {}
    for samples in dataset.splits.values():
        for sample in samples:
            if (sha256 := sha256_of.get(sample.name, "")) in embeddings.directions:
                of_content.setdefault(sha256, []).append(sample)
    agreed = {
        sha256: samples[0] for sha256, samples in of_content.items() if len({each.label for each in samples}) == 1
    }
    if len(agreed) < MIN_IMAGES:
        return None
    keys = [sample.cluster or sha256 for sha256, sample in agreed.items()]
    clusters = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    labels = np.array([sample.label for sample in agreed.values()], np.int64)
    if len(np.unique(labels)) < 2:
        return None
    directions = np.stack([embeddings.directions[sha256] for sha256 in agreed])
    return _Labelled(tuple(agreed.values()), directions, labels, clusters)


def out_of_fold(directions: Directions, labels: Integers, clusters: Integers) -> Floats:
    """Return the probabilities (N, classes) of each image by a classifier that was fitted to other clusters.

    An image whose class is not among those others has only zeros.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    # Not StratifiedGroupKFold, which takes half a millisecond for each cluster.
    _, first, cluster_of = np.unique(clusters, return_index=True, return_inverse=True)
    folds = min(FOLDS, int(np.bincount(labels[first]).max()))
    if folds < 2:
        return probabilities
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits do not matter
        for _, held_clusters in splitter.split(first, labels[first]):
            held = np.isin(cluster_of, held_clusters)
            classes = np.unique(labels[~held])
            if len(classes) < 2:
                continue
            centre = directions[~held].mean(axis=0)
            scale = float(np.sqrt(np.mean((directions[~held] - centre) ** 2))) or 1.0
            # For two classes, scikit-learn fits one row of weights, which has half the penalty of two.
            penalty = STRENGTH * int((~held).sum()) / (2 if len(classes) == 2 else 1)
            model = LogisticRegression(C=1 / penalty, tol=_TOLERANCE, max_iter=_ITERATIONS)
            model.fit((directions[~held] - centre) / scale, labels[~held])
            known = np.flatnonzero(held & np.isin(labels, classes))
            if len(known):
                probabilities[np.ix_(known, classes)] = model.predict_proba((directions[known] - centre) / scale)
    return probabilities


def _mean_recall(probabilities: Floats, labels: Integers) -> float:
    right = probabilities.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def suspects(probabilities: Floats, labels: Integers) -> list[tuple[int, int]]:
    """Return (image, suggested class) of the suspects, those that other classes claim most clearly first.

    `probabilities` (N, classes) are out of fold; rows of zeros are not judged.
    """
    judged = probabilities.any(axis=1)
    own = probabilities[np.arange(len(labels)), labels]
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels[judged]):
        thresholds[label] = own[judged & (labels == label)].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = confident.argmax(axis=1)
    claimed = np.flatnonzero(judged & (confident.max(axis=1) >= 0) & (suggested != labels))
    margins = probabilities[claimed, suggested[claimed]] - own[claimed]
    ranked = claimed[np.argsort(-margins, kind="stable")]
    return [(int(row), int(suggested[row])) for row in ranked]
