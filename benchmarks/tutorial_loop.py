"""The tutorials' training loop, the baseline: PIL, a DataLoader, the whole network in every epoch.

Prints one JSON object. Run it in a process of its own: its wall time counts, imports and all.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import time

STARTED = time.perf_counter()

import torch  # noqa: E402 - the clock starts before the imports
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from torchvision import transforms  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402

GROUPS = {
    "efficientnet_lite0": ["classifier", "conv_head bn2", "blocks.6", "blocks.5"],
    "resnet18": ["fc", "layer4", "layer3", "layer2"],
}


def make_network(name: str, classes: int) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    """Return the pretrained network with a new head, and its mean and std."""
    if name == "resnet18":
        import torchvision

        network = torchvision.models.resnet18(weights=None)
        network.fc = nn.Linear(network.fc.in_features, classes)
        return network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    from ftcli.model.libraries import efficientnet_lite0

    network = efficientnet_lite0.pretrained(name, image_size=224)
    network.classifier = nn.Linear(network.classifier.in_features, classes)
    return network, (0.5,) * 3, (0.5,) * 3


def make_loaders(root: str, mean: tuple[float, ...], std: tuple[float, ...], batch: int) -> dict[str, DataLoader]:
    """Return the loaders of train and val, with two workers each."""
    end = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    steps = {
        "train": [transforms.RandomResizedCrop(224, scale=(0.35, 1.0)), transforms.RandomHorizontalFlip(), *end],
        "val": [transforms.Resize(256), transforms.CenterCrop(224), *end],
    }
    folders = {split: ImageFolder(f"{root}/{split}", transforms.Compose(chain)) for split, chain in steps.items()}
    return {
        split: DataLoader(folder, batch_size=batch, shuffle=split == "train", num_workers=2)
        for split, folder in folders.items()
    }


def train_epoch(
    network: nn.Module, loaders: dict[str, DataLoader], optimizer: torch.optim.Optimizer, frozen: list[nn.Module]
) -> float:
    """Train on train, validate on val; `frozen` modules are kept in eval mode. Return the val accuracy."""
    accuracy = 0.0
    for split in ("train", "val"):
        network.train(split == "train")
        for module in frozen:
            module.eval()
        correct = 0
        for images, labels in loaders[split]:
            optimizer.zero_grad()
            with torch.set_grad_enabled(split == "train"):
                logits = network(images)
                loss = nn.functional.cross_entropy(logits, labels)
                if split == "train":
                    loss.backward()
                    optimizer.step()
            correct += int((logits.argmax(1) == labels).sum())
        accuracy = correct / len(loaders[split].dataset)
    return accuracy


def freeze(network: nn.Module, names: list[str] | None, lr: float) -> list[dict[str, object]]:
    """Freeze all but the named modules, the head first; None unfreezes everything. Return the optimizer's entries."""
    if names is None:
        for parameter in network.parameters():
            parameter.requires_grad = True
        return [{"params": list(network.parameters()), "lr": lr}]
    for parameter in network.parameters():
        parameter.requires_grad = False
    entries = []
    for distance, group in enumerate(names):
        chosen = [p for name in group.split() for p in network.get_submodule(name).parameters()]
        for parameter in chosen:
            parameter.requires_grad = True
        entries.append({"params": chosen, "lr": lr * 0.3**distance})
    return entries


def main() -> None:
    """Time the loop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--model", default="efficientnet_lite0", choices=GROUPS)
    parser.add_argument("--groups", default="1", help="groups to train, counted from the head; 1,2,3 is gradual; all")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batchnorm", choices=["train", "eval"], default="eval")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    network, mean, std = make_network(options.model, 2)
    loaders = make_loaders(options.root, mean, std, options.batch)
    stages = [None if stage == "all" else GROUPS[options.model][: int(stage)] for stage in options.groups.split(",")]
    setup_seconds = time.perf_counter() - STARTED
    best, best_weights, seconds = 0.0, None, []
    for stage in stages:
        optimizer = torch.optim.SGD(freeze(network, stage, options.lr), momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
        still = frozen_modules(network) if options.batchnorm == "eval" else []
        for _ in range(options.epochs):
            before = time.perf_counter()
            accuracy = train_epoch(network, loaders, optimizer, still)
            schedule.step()
            if accuracy > best:
                best, best_weights = accuracy, copy.deepcopy(network.state_dict())
            seconds.append(time.perf_counter() - before)
    assert best_weights is not None
    torch.save(best_weights, "/dev/null")
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        json.dumps(
            {"setup_seconds": setup_seconds, "epoch_seconds": seconds, "accuracy": best, "peak_mib": usage / 1024}
        )
    )


def frozen_modules(network: nn.Module) -> list[nn.Module]:
    """Return the modules all of whose parameters are frozen."""
    return [
        module
        for module in network.modules()
        if list(module.parameters()) and not any(p.requires_grad for p in module.parameters())
    ]


if __name__ == "__main__":
    main()
