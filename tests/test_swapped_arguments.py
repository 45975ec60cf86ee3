"""Swapped arguments are told at once, also where nothing checks types while it runs, as for users."""

import json
import subprocess
import sys

import pytest

CALLS = {
    "layers": "models.layers(['block 1'], model)",
    "layers, a name alone": "models.layers(model, 'block 1')",
    "residuals": "models.residuals('test_vit')",
    "family": "models.family('test_vit')",
    "places": "models.places(model, images, layers)",
    "read": "models.read(model, images, layers)",
    "read, the network last": "models.read(images, layers, model)",
    "read, names": "models.read(model, ['block 1'], images)",
    "preprocessing": "models.preprocessing(images)",
    "load": "models.load(model)",
    "images": "data.load(model)",
    "compare_models": "cka.compare_models(images, {'m': model}, **draw)",
    "attention_distances": "attention.attention_distances(images, model)",
    "skip_ratios": "skip.skip_ratios(images, model)",
    "receptive fields": "receptive_field.effective_receptive_field(model, images, layers)",
    "receptive fields, names": "receptive_field.effective_receptive_field(model, ['block 1'], images)",
    "localization": "localization.token_patch_cka(model, images, layers)",
    "localization, names": "localization.token_patch_cka(model, ['block 1'], images)",
    "probe_layers": "probes.probe_layers((images, labels), model, (images, labels))",
    "probe_layers, layers": "probes.probe_layers(model, (images, labels), layers)",
    "RidgeProbe": "probes.RidgeProbe().fit(labels, images.flatten(1))",
}
USER = """
import json, sys
import timm, torch
from seelike import attention, cka, data, localization, models, probes, receptive_field, skip
model, images, labels = timm.create_model("test_vit").eval(), torch.zeros(8, 3, 160, 160), [0, 1] * 4
layers = models.layers(model, ["block 1"])
draw = {"number_of_images": 8, "batch_size": 8, "repeats": 1, "seed": 0}
said = {}
for name, call in json.load(sys.stdin).items():
    try:
        eval(call)
    except Exception as error:
        said[name] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    command = [sys.executable, "-W", "ignore", "-c", USER]
    done = subprocess.run(command, input=json.dumps(CALLS), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CALLS)
def test_the_error_says_what_was_given_and_what_is_expected(said, name):
    kind, message = said[name]
    assert kind in ("TypeError", "ValueError")
    assert "expected" in message.lower()
