"""What can score images: a run, a checkpoint, or an exported model, opened the same way by every command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcli.errors import UsageError
from ftcli.model.formats import FORMATS
from ftcli.recipe.keys import Recipe
from ftcli.recipe.loading import recipe_from
from ftcli.records import InputSpec
from ftcli.runs.create import put_back
from ftcli.runs.directory import RunDirectory
from ftcli.runs.export_directory import is_export, read_export

if TYPE_CHECKING:
    from ftcli.engine.inference import Scorer
    from ftcli.model.network import Network
    from ftcli.runs.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class Target:
    """A classifier: its file, its classes and input, and the recipe that it was trained with, also as it was written.

    `checkpoint` is None for an exported model, `form` for anything else.
    """

    path: Path
    classes: tuple[str, ...]
    spec: InputSpec
    recipe: Recipe
    recipe_values: Mapping[str, Any]
    checkpoint: Checkpoint | None = None
    form: str | None = None

    @property
    def home(self) -> RunDirectory:
        """The run that it came from, if its file is still there."""
        file = self.path.resolve()
        return RunDirectory(file.parents[1] if self.form is None else file.parents[2])

    @property
    def is_best(self) -> bool:
        """Whether it is the best checkpoint of its run."""
        return self.path.resolve() == self.home.best.resolve()

    def scorer(self, *, device: str | None, batch_size: int | None) -> Scorer:
        """Return a scorer; None means what the recipe says. Raises UsageError without the device or the runtime."""
        from ftcli.engine.device import pick_compute
        from ftcli.engine.inference import exported_scorer, network_scorer

        size = batch_size or self.recipe.data.batch_size
        if self.checkpoint is None:
            assert self.form is not None, "an exported model has a format"
            need(FORMATS[self.form].runtime, extra=FORMATS[self.form].extra)
            return exported_scorer(self.path, self.form, self.classes, self.spec, batch_size=size)
        network, compute = self.network(), pick_compute(device or self.recipe.device, "fp32")
        compute.place(network.module)
        return network_scorer(network, compute, batch_size=size)

    def network(self) -> Network:
        """Return the checkpoint's network, on the CPU."""
        from ftcli.model.network import restore_network

        assert self.checkpoint is not None, "an exported model is a file of another runtime"
        info, origin = self.checkpoint.info, str(self.path)
        return restore_network(
            info.model, classes=info.classes, spec=info.spec, state_dict=self.checkpoint.state_dict, origin=origin
        )


def open_target(path: Path) -> Target:
    """Open a run (its best checkpoint), a checkpoint or an exported model. Raises CheckpointError."""
    put_back(path)
    if is_export(path):
        folder, model = read_export(path)
        file = folder / model.file
        recipe = recipe_from(model.recipe, source=str(file))
        return Target(file, model.classes, model.preprocessing, recipe, model.recipe, form=model.format)
    from ftcli.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    info = checkpoint.info
    recipe = recipe_from(info.recipe, source=str(checkpoint.path))
    return Target(checkpoint.path, info.classes, info.spec, recipe, info.recipe, checkpoint)


def need(*packages: str, extra: str) -> None:
    """Raise UsageError where a package of an extra is not installed; nothing is imported."""
    from importlib.util import find_spec

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} must be installed for this", hint=f"Install it: pip install 'ftcli[{extra}]'"
        )
