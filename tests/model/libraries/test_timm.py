"""timm's models: image sizes and classifiers."""

import pytest
import timm
import torch

from ftcli.errors import ModelError
from ftcli.model.libraries import timm as timm_models


def test_weights_that_do_not_fit_an_image_size_are_an_error_that_names_their_own(monkeypatch):
    def create(_name, *, pretrained, **_arguments):
        if pretrained:
            raise RuntimeError("Error(s) in loading state_dict for MlpMixer:\n\tsize mismatch for blocks.0")
        return torch.nn.Linear(1, 1)

    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(timm_models, "_hub_answers", lambda: False)
    with pytest.raises(ModelError, match=r"image_size 256.*weights are for 224 px"):
        timm_models.pretrained("timm/mixer_b16_224", image_size=256)


def test_classifiers_that_the_configuration_does_not_list_are_found():
    with torch.device("meta"):
        network = timm.create_model("efficientvim_m1_dist")
    assert timm_models.heads("timm/efficientvim_m1_dist", network)[-1] == "heads_dist.3"
