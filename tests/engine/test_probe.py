import pytest

from ftcli.engine import probe as probing
from ftcli.engine.probe import check_probe, find_head
from ftcli.errors import ModelError, UsageError
from ftcli.model.network import Network, build_network
from ftcli.model.prefix.cut import Cut, cut_network
from ftcli.plan import Phase


def network_of(name: str, *, image_size: int = 64) -> Network:
    return build_network(name, "none", classes=("a", "b", "c"), seed=0, image_size=image_size)


def head_phase(network: Network) -> Phase:
    lr = {group.name: 1.0 if group.name == "head" else None for group in network.groups}
    return Phase("head", 1, lr, solver="lbfgs")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "timm/test_vit"])
def test_the_head_is_found_behind_the_features_that_reach_it(name: str) -> None:
    network = network_of(name, image_size=160)
    cut = check_probe(network, head_phase(network), 100)
    head = find_head(cut)
    assert head is network.module.get_submodule(network.heads[0])
    assert cut.row_shapes == ((head.in_features,),)


def test_a_head_whose_outputs_are_pooled_is_refused() -> None:
    network = network_of("squeezenet1_1")
    with pytest.raises(ModelError, match=r"squeezenet1_1.* 512 x 3 x 3 .* 512"):
        check_probe(network, head_phase(network), 100)


def test_a_network_that_changes_its_logits_is_refused() -> None:
    network = network_of("mobilenet_v3_small")
    cut = cut_network(network, head_phase(network).lr)
    assert isinstance(cut, Cut)
    plain = cut.live.forward
    cut.live.forward = lambda rows: 2 * plain(rows)
    with pytest.raises(ModelError, match="mobilenet_v3_small"):
        find_head(cut)


def test_more_features_than_fit_into_memory_are_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing.os, "sysconf", lambda _name: 2**15)
    network = network_of("mobilenet_v3_small")
    check_probe(network, head_phase(network), 2**16)
    with pytest.raises(UsageError, match=r"2\.1 GB for 131,072 views") as caught:
        check_probe(network, head_phase(network), 2**17)
    assert caught.value.where == "data.views"
