"""The recipe: every key with its type, its default and its meaning. One file, so that a default has one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from ftcli.metrics import EXPECTABLE
from ftcli.recipe.augmentation import AUGMENT_WORDS, Augment
from ftcli.recipe.types import (
    Betas,
    Expectations,
    Fraction,
    GroupCount,
    GroupPattern,
    Monitor,
    Rate,
    RateOrRates,
    Rates,
    Seed,
    Share,
    Tracking,
    Views,
    WeightDecay,
    Workers,
)

DEFAULT_VAL_FRACTION = 0.2
"""The share of train held out for validation where the dataset has no val split and the recipe names none."""

DEFAULT_LR: Mapping[str, float] = {"sgd": 1e-2, "adam": 1e-3, "adamw": 1e-3}
"""The learning rate of the head by optimizer, if the recipe has null. Decision 15 has the figures behind it."""

_BY_OPTIMIZER = f"null means {DEFAULT_LR['sgd']} with sgd, {DEFAULT_LR['adam']} with adam and adamw"

DEFAULT_EPOCHS = 10
DEFAULT_UNFREEZE = 1
DEFAULT_LR_DECAY = 0.3
"""The values of `epochs`, and of fine-tune's `unfreeze` and `lr_decay`, if the recipe has null."""

VOID_WITH_LBFGS: Mapping[tuple[str, ...], str] = {
    ("strategy", "lr"): "chooses its step size itself",
    ("optimizer",): "is the optimizer, and chooses its own L2 penalty",
    ("schedule",): "chooses its step size itself",
    ("epochs",): "runs until convergence",
    ("patience",): "runs until convergence",
    ("monitor",): "has no epochs to choose from",
    ("label_smoothing",): "fits the labels as they are",
    ("clip_grad_norm",): "needs no limit on its steps",
}
"""The keys without effect under `strategy.solver: lbfgs`, with the reason: refused when read, and never written."""


class Section(BaseModel):
    """A frozen part of the recipe: unknown keys are refused, and values are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSection(Section):
    """Where the images are and how they reach the network."""

    root: Annotated[str, Field(min_length=1)] = Field(
        description="A folder with train/ and val/ (and test/), or one folder of class folders; "
        "`digits` is the built-in dataset. A relative path starts at the current directory."
    )
    val_fraction: Fraction | None = Field(
        default=None,
        description="Share of each class of train held out for validation if val/ is missing "
        f"(null means {DEFAULT_VAL_FRACTION}). An error if val/ exists.",
    )
    group_by: GroupPattern | None = Field(
        default=None,
        description="Regular expression that extracts a group id (such as a patient) from each image's path within its "
        "class folder, for example `^(patient[0-9]+)_`: the text of `(?P<group>...)`, or else of the first "
        "parentheses. The images of a group are never split between train and val.",
    )
    keep_together: Literal["identical", "similar"] = Field(
        default="identical",
        description="Images that are never split between train and val where val is taken from train. identical: files "
        "with the same content; similar: near-duplicates as well (resized, re-encoded or mirrored), as `ftcli check` "
        "finds them. similar is an error if val/ exists.",
    )
    on_bad_image: Literal["error", "skip"] = Field(
        default="error",
        description="error: name every image that cannot be decoded, and do not train; skip: train without them, and "
        "name and count them.",
    )
    image_size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        default=None,
        description="Side of the network's input in pixels. null: the size that the weights were trained with.",
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(
        default=32,
        description="Images per training step, at most. The batches of an epoch differ in size by at most one.",
    )
    augment: Augment = Field(default="standard", description=AUGMENT_WORDS)
    views: Views = Field(
        default=8,
        description="Number of fixed augmented versions of each training image, which the epochs take in turn; or "
        "`fresh` for a new one in each epoch. Phases that train every group always use fresh ones.",
    )
    share_views: bool = Field(
        default=True,
        description="true: an image has the same fixed views in all runs, which share them in the cache; false: they "
        "depend on the seed, so that a spread over seeds includes that of augmentation.",
    )
    cache: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: compute the frozen part once for each view and keep it on disk; off: compute it in every "
        "epoch.",
    )
    workers: Workers = Field(
        default="auto", description="Number of processes that decode images. Results do not depend on it."
    )


class ModelSection(Section):
    """The network and its initial weights."""

    name: Annotated[str, Field(min_length=1)] = Field(
        default="efficientnet_lite0",
        description="A torchvision name such as resnet18, timm/<name>, or efficientnet_lite0, "
        "whose ImageNet weights are installed with ftcli.",
    )
    weights: Annotated[str, Field(min_length=1)] = Field(
        default="default",
        description="default: the library's pretrained weights; none: random weights; or the path of a weights file "
        "(.safetensors, .pth), of a run directory or of an ftcli checkpoint.",
    )
    batchnorm: Literal["train", "eval"] = Field(
        default="train",
        description="BatchNorm layers of the groups that train. train: their statistics follow the batches; eval: they "
        "keep those of the initial weights, and only their weights train. Frozen groups keep theirs always.",
    )


class FeatureExtract(Section):
    """Train only the head."""

    kind: Literal["feature-extract"]
    lr: Rate | None = Field(default=None, description=f"Learning rate of the head ({_BY_OPTIMIZER}). Not with lbfgs.")
    solver: Literal["sgd", "lbfgs"] = Field(
        default="sgd",
        description="sgd: train with `optimizer` for `epochs`; lbfgs: fit logistic regression on all views at once, to "
        "convergence, with the L2 strength chosen by cross-validation on train.",
    )


class FineTune(Section):
    """Train the head and part of the body, each group at its own rate."""

    kind: Literal["fine-tune"]
    lr: RateOrRates | None = Field(
        default=None,
        description=f"Learning rate of the head ({_BY_OPTIMIZER}); or one rate per group, glob or module. Groups that "
        "are not named stay frozen.",
    )
    unfreeze: GroupCount | None = Field(
        default=None,
        description="Number of groups to train in addition to the head, counted from it, or `all` "
        f"(null means {DEFAULT_UNFREEZE}). Only with a single lr.",
    )
    lr_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Factor on the learning rate for each step from one group to the one before it "
        f"(null means {DEFAULT_LR_DECAY}). Only with a single lr.",
    )
    head_epochs: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Epochs at the start, out of the total, that train only the head."
    )

    @model_validator(mode="after")
    def _one_way_to_say_rates(self) -> FineTune:
        if isinstance(self.lr, Mapping):
            given = [key for key in ("unfreeze", "lr_decay") if getattr(self, key) is not None]
            if given:
                raise ValueError(
                    f"{' and '.join(given)} would have no effect with one lr per group; give lr as a single rate"
                )
        return self


class Gradual(Section):
    """Unfreeze from the head down, more groups in each phase, at falling rates."""

    kind: Literal["gradual"]
    lr: Rate | None = Field(default=None, description=f"Learning rate of the head ({_BY_OPTIMIZER}).")
    lr_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.3, description="Factor on the learning rate for each step from one group to the one before it."
    )
    epochs_per_phase: Annotated[int, Field(ge=1)] = Field(
        default=2, description="Epochs of each phase except the last, which takes the rest."
    )
    groups_per_phase: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Number of groups that each phase adds."
    )
    unfreeze: GroupCount = Field(
        default=3,
        description="Number of groups to train in the last phase in addition to the head, counted from it, or `all`.",
    )


class FromScratch(Section):
    """Train everything from random weights, for comparison."""

    kind: Literal["from-scratch"]
    lr: Rate | None = Field(default=None, description=f"Learning rate of every group ({_BY_OPTIMIZER}).")


class PhaseSection(Section):
    """One phase of the explicit list."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = Field(description="Epochs of this phase.")
    lr: Rates = Field(description="One learning rate per group, glob or module. Groups that are not named stay frozen.")
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="The same as the recipe's `patience`, for this phase. null: the recipe's.",
    )


class Phases(Section):
    """The explicit list of phases."""

    kind: Literal["phases"]
    phases: Annotated[tuple[PhaseSection, ...], Field(min_length=1, strict=False)] = Field(
        description="The phases in order. The total is the sum of their epochs."
    )


Strategy = Annotated[FeatureExtract | FineTune | Gradual | FromScratch | Phases, Field(discriminator="kind")]


_DECAYED = "the matrices and kernels of layers; not on biases, norms, scales, class tokens or tables of positions"


class Sgd(Section):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    momentum: Share = Field(default=0.9, description="Momentum.")
    nesterov: bool = Field(default=False, description="Nesterov's form of the momentum.")
    weight_decay: WeightDecay = Field(default=1e-4, description=f"L2 penalty, on {_DECAYED}.")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(Section):
    """Adam, with the weight decay as an L2 penalty."""

    kind: Literal["adam"]
    betas: Betas = Field(default=(0.9, 0.999), description="Decay rates of the two moments.")
    weight_decay: WeightDecay = Field(default=0.0, description=f"L2 penalty, on {_DECAYED}.")


class AdamW(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"]
    betas: Betas = Field(default=(0.9, 0.999), description="Decay rates of the two moments.")
    weight_decay: WeightDecay = Field(default=1e-2, description=f"Decoupled weight decay, on {_DECAYED}.")


Optimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="kind")]


Warmup = Annotated[
    int, Field(ge=0, description="Epochs of each phase in which the rate rises linearly from near zero.")
]


class Constant(Section):
    """The rate stays."""

    kind: Literal["constant"]
    warmup_epochs: Warmup = 0


class Cosine(Section):
    """The rate falls to near zero along half a cosine within each phase."""

    kind: Literal["cosine"]
    warmup_epochs: Warmup = 0


class Step(Section):
    """The rate is multiplied by gamma every few epochs of a phase."""

    kind: Literal["step"]
    step_epochs: Annotated[int, Field(ge=1)] = Field(default=7, description="Epochs between two falls.")
    gamma: Annotated[float, Field(gt=0, lt=1)] = Field(default=0.1, description="Factor of each fall.")
    warmup_epochs: Warmup = 0


Schedule = Annotated[Constant | Cosine | Step, Field(discriminator="kind")]


class Recipe(Section):
    """What the user asked for. Frozen; never mutated."""

    format: Literal[1] = Field(
        default=1, description="Version of the recipe's format, recorded by every run. Other versions are refused."
    )
    data: DataSection = Field(description="Where the images are and how they reach the network.")
    model: ModelSection = Field(default=ModelSection(), description="The network and its initial weights.")
    strategy: Strategy = Field(
        default=FeatureExtract(kind="feature-extract"), description="Which groups train when, at which rates."
    )
    optimizer: Optimizer = Field(default=Sgd(kind="sgd"), description="How gradients become steps.")
    schedule: Schedule = Field(default=Cosine(kind="cosine"), description="How rates move within a phase.")
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description=f"Total number of epochs over all phases (null means {DEFAULT_EPOCHS}). "
        "An error with `strategy.kind: phases`.",
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="End a phase, and in the last phase the run, after this many epochs without a better monitor; "
        "with the cosine schedule after two more, in which the rates fall to near zero. null: never.",
    )
    monitor: Monitor = Field(
        default="val_accuracy", description="Metric that selects the best epoch; ties are broken by val loss."
    )
    label_smoothing: Share = Field(
        default=0.0, description="Share of each training label that is spread evenly over all classes."
    )
    clip_grad_norm: Rate | None = Field(
        default=None, description="Maximum norm of the gradient over all trained weights. null: no limit."
    )
    seed: Seed = Field(
        default=0, description="Random seed for head initialisation, shuffling, dropout and fresh views."
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)] | None = Field(
        default=None,
        description="Train one run for each of these seeds, in one directory, and report the spread of their metrics. "
        "Replaces `seed`. `--seeds 0,1,2` overrides both.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Device to train on. auto: CUDA, else Apple's MPS, else the CPU."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Precision of the body in training; the head and all scoring are fp32. auto: on CUDA devices bf16 "
        "where they support it, else fp16 where they have tensor cores; elsewhere fp32.",
    )
    expect: Expectations = Field(
        default={},
        description='Figures that must be reached, such as `val_accuracy: ">= 0.9"`; if one is not, `train` and '
        f"`eval` exit with 4 after everything is written. Names: {', '.join(EXPECTABLE)}, for whatever is scored; "
        "with `val_` or `test_` before them, for that split alone.",
    )
    tracking: Annotated[tuple[Tracking, ...], Field(strict=False)] = Field(
        default=(),
        description="Experiment trackers to log to: `tensorboard`, with event files in the run directory, and "
        "`mlflow`, at MLFLOW_TRACKING_URI. Each needs its extra: `pip install 'ftcli[tensorboard,mlflow]'`.",
    )
    runs_dir: Annotated[str, Field(min_length=1)] = Field(
        default="runs", description="Folder for run directories. `--runs` overrides it."
    )
    report: bool = Field(default=True, description="Whether to write report.html for a finished run.")

    @property
    def total_epochs(self) -> int | None:
        """The epochs of all phases; None if the strategy sets them itself."""
        return None if isinstance(self.strategy, Phases) or self.uses_lbfgs else self.epochs or DEFAULT_EPOCHS

    @property
    def default_lr(self) -> float:
        """The rate that a strategy without one gives to the head."""
        return DEFAULT_LR[self.optimizer.kind]

    @property
    def uses_lbfgs(self) -> bool:
        """Whether the head is fitted to convergence, which leaves no epoch to choose."""
        return isinstance(self.strategy, FeatureExtract) and self.strategy.solver == "lbfgs"

    @property
    def chooses_epoch(self) -> bool:
        """Whether val chooses the best of several epochs."""
        if isinstance(self.strategy, Phases):
            return sum(phase.epochs for phase in self.strategy.phases) > 1
        return not self.uses_lbfgs and self.total_epochs != 1

    def of_seed(self, seed: int) -> Recipe:
        """Return the recipe of one seed's run."""
        return self.model_copy(update={"seed": seed, "seeds": None})

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is not None and len(set(seeds)) != len(seeds):
            raise ValueError("each seed must be listed once")
        return seeds

    @field_validator("tracking")
    @classmethod
    def _trackers_differ(cls, tracking: tuple[Tracking, ...]) -> tuple[Tracking, ...]:
        if len(set(tracking)) != len(tracking):
            raise ValueError("each tracker must be listed once")
        return tracking

    @model_serializer(mode="wrap")
    def _without_void_keys(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the keys that have no effect and would be refused when read back."""
        values: dict[str, Any] = write(self)
        for *home, key in VOID_WITH_LBFGS if self.uses_lbfgs else ():
            (values[home[0]] if home else values).pop(key)
        if self.seeds is not None:
            values.pop("seed")
        return values
