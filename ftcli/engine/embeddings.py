"""How networks see images: read from the features that runs left in the cache, or computed into it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ftcli.cache.key import cache_directory
from ftcli.cache.store import FeatureStore
from ftcli.data.checks.look_alikes import Embeddings
from ftcli.data.loader import Images
from ftcli.data.transforms import evaluation_transform
from ftcli.data.workers import default_workers
from ftcli.engine.device import pick_compute
from ftcli.engine.extraction import VAL_STORED_DTYPE, Extraction, OnRows, view_name
from ftcli.model.network import build_network
from ftcli.model.prefix.cut import Cut, cut_network
from ftcli.model.prefix.fast import fast_prefix
from ftcli.strategies import HEAD

BUILT_IN = "efficientnet_lite0"
"""The network whose ImageNet weights are installed with ftcli."""

MOST_VIEWS = 8
"""How many views of an image are read; the direction of their mean hardly changes with more."""

_OF_ONE_SIDE = {"transform", "dtype"}
"""The keys of a description that differ between train and val of one run."""

_ROWS_AT_ONCE = 4096


def store_features(contents: Mapping[str, Path], *, on_rows: OnRows) -> None:
    """Compute the features of files by hash in the built-in network, where the cache lacks them.

    Raises CacheError where it cannot hold them.
    """
    images = Images(tuple(contents.values()), tuple(contents))
    network = build_network(BUILT_IN, "default", classes=("a", "b"), seed=0)  # its head is not used
    compute = pick_compute("auto", "fp32")
    compute.place(network.module)
    cut = cut_network(network, {group.name: 1.0 if group.name == HEAD else None for group in network.groups})
    assert isinstance(cut, Cut), "the built-in network is cut before its head"
    transform = evaluation_transform(network.spec)
    extraction = Extraction(cut, fast_prefix(cut), transform, compute, VAL_STORED_DTYPE)
    with ExitStack() as opened:
        extraction.stored(images, (0,), workers=default_workers(len(images)), opened=opened, on_rows=on_rows)


def sees_images(description: Mapping[str, Any]) -> bool:
    """Return whether a collection holds one vector per view, the input of a network's head."""
    shapes = description.get("shapes", [])
    return len(shapes) == 1 and math.prod(shapes[0]) == max(shapes[0], default=0)


def stored_directions(sha256s: Sequence[str], descriptions: Iterable[Mapping[str, Any]]) -> Embeddings | None:
    """Return the directions of the images with these hashes, which do not repeat, in one network; None without any.

    The network is the first one for which the cache has all images, or else the one for which it has most. An image's
    direction is that of the mean of its views. Raises CacheError when the cache cannot be read.
    """
    best: Embeddings | None = None
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for description in filter(sees_images, descriptions):
        shared = {key: value for key, value in description.items() if key not in _OF_ONE_SIDE}
        networks.setdefault(json.dumps(shared, sort_keys=True), []).append(description)
    for of_network in networks.values():
        seen = _seen(sha256s, of_network)
        if seen.directions and (best is None or len(seen.directions) > len(best.directions)):
            best = seen
        if best is not None and len(best.directions) == len(sha256s):
            break
    return best


def _seen(sha256s: Sequence[str], descriptions: Sequence[Mapping[str, Any]]) -> Embeddings:
    """Return the directions that are known from the collections of one network."""
    store, channels = FeatureStore(cache_directory()), math.prod(descriptions[0]["shapes"][0])
    sums = torch.zeros(len(sha256s), channels)
    for description in descriptions:
        views = 1 if description["transform"] == "evaluation" else MOST_VIEWS
        names = [view_name(sha256, view) for sha256 in sha256s for view in range(views)]
        looked_into = store.look_into(description)
        if looked_into is None:  # another process has removed it
            continue
        with looked_into as collection:
            stored = np.delete(np.arange(len(names)), collection.missing(names))
            if len(stored):
                features = collection.open([names[position] for position in stored])
                owners = torch.from_numpy(stored // views)
                # The direction of each view is added to the sum (C,) of its image.
                for start in range(0, len(features), _ROWS_AT_ONCE):
                    chosen = np.arange(start, min(start + _ROWS_AT_ONCE, len(features)))
                    (rows,) = features.rows(chosen)
                    sums.index_add_(0, owners[chosen], nn.functional.normalize(rows.float().flatten(1)))
    lengths = sums.norm(dim=1)
    known = ((lengths > 0) & lengths.isfinite()).nonzero().flatten()
    directions = (sums[known] / lengths[known, None]).numpy()
    return Embeddings(descriptions[0]["model"], dict(zip((sha256s[row] for row in known), directions, strict=True)))
