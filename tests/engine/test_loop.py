from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from ftcli.data.loader import Batch
from ftcli.engine.device import Compute, scaler_tensors
from ftcli.engine.loop import Epoch, Start, TrainSettings, train_phase
from ftcli.engine.phase_data import AnyBatch, PhaseData
from ftcli.errors import NonFiniteLossError
from ftcli.model.network import Network, build_network
from ftcli.plan import Phase
from ftcli.recipe.keys import Constant, Sgd

CPU = Compute(torch.device("cpu"), "fp32")
SETTINGS = TrainSettings(
    optimizer=Sgd(kind="sgd", momentum=0.0, weight_decay=0.0), schedule=Constant(kind="constant"), compute=CPU, seed=0
)


def batches() -> list[Batch]:
    """Return six random images in two batches."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8) for _ in range(2)]
    return [Batch(torch.arange(3) + 3 * number, each) for number, each in enumerate(images)]


LABELS = torch.tensor([0, 1, 0, 0, 1, 0])


HALF = Compute(torch.device("cpu"), "fp16")


def data_of(network: Network, compute: Compute = CPU) -> PhaseData:
    """Return the six images as train and as val, the same in every epoch."""

    def forward(batch: AnyBatch) -> Tensor:
        assert isinstance(batch, Batch)
        with compute.autocast(network.module.get_submodule(network.heads[0])):
            logits: Tensor = network.module(batch.images.float() / 255)
        return logits

    return PhaseData(lambda _epoch: batches(), batches, LABELS, LABELS, forward, forward, steps_per_epoch=2)


@pytest.fixture
def network() -> Network:
    return build_network("mobilenet_v3_small", "none", classes=("a", "b"), seed=0, image_size=32)


def phase_of(network: Network, *trained: str, epochs: int = 1, lr: float = 0.1) -> Phase:
    return Phase("p", epochs, {group.name: lr if group.name in trained else None for group in network.groups})


def run(network: Network, phase: Phase, settings: TrainSettings = SETTINGS) -> list[Epoch]:
    return list(train_phase(network, phase, data_of(network), start=Start(0, 1), settings=settings))


def test_one_epoch_takes_the_steps_that_plain_torch_takes(network: Network) -> None:
    plain = build_network("mobilenet_v3_small", "none", classes=("a", "b"), seed=0, image_size=32)
    for module in plain.module.modules():
        module.eval()
    optimizer = torch.optim.SGD(plain.module.get_submodule(plain.heads[0]).parameters(), lr=0.1)
    losses = []
    for batch in batches():
        loss = nn.functional.cross_entropy(plain.module(batch.images.float() / 255), LABELS[batch.indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    epoch = run(network, phase_of(network, "head"))[0]
    for ours, theirs in zip(network.module.parameters(), plain.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert epoch.record.train_loss == pytest.approx(sum(losses) / 2)


def test_val_metrics_come_from_the_probabilities(network: Network) -> None:
    epoch = run(network, phase_of(network, "head"))[0]
    right = (epoch.val_probabilities.argmax(axis=1) == LABELS.numpy()).mean()
    assert epoch.record.val["accuracy"] == pytest.approx(right)
    assert epoch.val_probabilities.sum(axis=1) == pytest.approx([1.0] * 6)


def test_epochs_are_counted_over_the_whole_run(network: Network) -> None:
    phase = phase_of(network, "head", epochs=2)
    epochs = list(train_phase(network, phase, data_of(network), start=Start(3, 7), settings=SETTINGS))
    assert [(epoch.record.epoch, epoch.record.phase_index) for epoch in epochs] == [(7, 3), (8, 3)]


def test_the_same_seed_gives_the_same_dropout_and_another_seed_another(network: Network) -> None:
    def losses(seed: int) -> list[float]:
        fresh = build_network("mobilenet_v3_small", "none", classes=("a", "b"), seed=0, image_size=32)
        phase = phase_of(fresh, "classifier.0", "head", epochs=2)
        return [epoch.record.train_loss for epoch in run(fresh, phase, replace(SETTINGS, seed=seed))]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_gradients_are_clipped_to_the_norm(network: Network) -> None:
    def moved(clip: float | None) -> float:
        fresh = build_network("mobilenet_v3_small", "none", classes=("a", "b"), seed=0, image_size=32)
        head = fresh.module.get_submodule(fresh.heads[0])
        before = nn.utils.parameters_to_vector(head.parameters()).detach().clone()
        run(fresh, phase_of(fresh, "head"), replace(SETTINGS, clip_grad_norm=clip))
        return float((nn.utils.parameters_to_vector(head.parameters()).detach() - before).norm())

    assert moved(1e-3) <= 2 * 0.1 * 1e-3 * 1.001
    assert moved(None) > 2 * 0.1 * 1e-3


def test_label_smoothing_changes_the_loss(network: Network) -> None:
    with torch.no_grad():
        network.module.get_submodule(network.heads[0]).bias.copy_(torch.tensor([3.0, -3.0]))
    plain = run(network, phase_of(network, "head", lr=1e-9))[0].record
    smoothed = run(network, phase_of(network, "head", lr=1e-9), replace(SETTINGS, label_smoothing=0.5))[0].record
    assert plain.train_loss != pytest.approx(smoothed.train_loss, rel=1e-4)
    assert plain.val["loss"] == pytest.approx(smoothed.val["loss"], rel=1e-4)


def test_the_train_log_loss_is_that_of_labels_that_are_not_smoothed(network: Network) -> None:
    phase = phase_of(network, "head", lr=1e-9)
    plain = run(network, phase)[0].record
    smoothed = run(network, phase, replace(SETTINGS, label_smoothing=0.5))[0].record
    assert plain.train_log_loss == plain.train_loss
    assert smoothed.train_log_loss == pytest.approx(plain.train_loss, rel=1e-4)
    assert smoothed.comparable_train_loss == smoothed.train_log_loss
    assert replace(smoothed, train_log_loss=None).comparable_train_loss == smoothed.train_loss


def test_a_loss_that_is_not_finite_moves_no_weight(network: Network) -> None:
    with torch.no_grad():
        network.module.get_submodule(network.heads[0]).weight.fill_(float("nan"))
    body = [name for name, _ in network.module.named_parameters() if not name.startswith(network.heads[0])]
    before = {name: network.module.get_parameter(name).detach().clone() for name in body}
    with pytest.raises(NonFiniteLossError, match=r"phase 'p', epoch 1, batch 1, at the rates features\.0: 0\.1"):
        run(network, phase_of(network, "features.0", "head"))
    assert all(torch.equal(before[name], network.module.get_parameter(name)) for name in body)


def test_every_batch_is_reported(network: Network) -> None:
    reported: list[tuple[int, int, int]] = []
    run(network, phase_of(network, "head"), replace(SETTINGS, on_batch=lambda *batch: reported.append(batch)))
    assert reported == [(1, 1, 2), (1, 2, 2)]


def test_a_gradient_that_overflows_in_fp16_moves_no_weight_and_lowers_the_scale(network: Network) -> None:
    before = {name: tensor.detach().clone() for name, tensor in network.module.named_parameters()}
    scaler = HALF.loss_scaler()
    scaler.load_state_dict(scaler.state_dict() | {"scale": 1e38})
    start, phase = Start(0, 1, optimizer=scaler_tensors(scaler)), phase_of(network, "classifier.0", "head")
    settings = replace(SETTINGS, compute=HALF)
    (epoch,) = train_phase(network, phase, data_of(network, HALF), start=start, settings=settings)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.module.named_parameters())
    assert epoch.optimizer["loss scale/scale"].item() == pytest.approx(1e38 / 4)


def test_fp16_trains_what_fp32_trains_and_a_resumed_phase_what_a_whole_one_does(network: Network) -> None:
    def trained(compute: Compute, parts: Sequence[int]) -> tuple[Tensor, list[Epoch]]:
        fresh = build_network("mobilenet_v3_small", "none", classes=("a", "b"), seed=0, image_size=32)
        settings = replace(SETTINGS, compute=compute, clip_grad_norm=1.0)
        phase = phase_of(fresh, "classifier.0", "head", epochs=2)
        epochs: list[Epoch] = []
        for until in parts:
            start = Start(0, 1, len(epochs), epochs[-1].optimizer if epochs else {})
            steps = train_phase(fresh, phase, data_of(fresh, compute), start=start, settings=settings)
            epochs += islice(steps, until - len(epochs))
        return fresh.module.get_submodule(fresh.heads[0]).weight.detach(), epochs

    whole, epochs = trained(HALF, [2])
    resumed, _ = trained(HALF, [1, 2])
    single, _ = trained(CPU, [2])
    assert torch.equal(whole, resumed)
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-4)
    assert epochs[-1].optimizer["loss scale/_growth_tracker"].item() == 4, "no step was skipped"
