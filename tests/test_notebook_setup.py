"""`seelike.start`: what it takes from a notebook's namespace, what it refuses, and what it leaves behind."""

import importlib
import json
import re
import sys
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import seelike
from seelike import hub, notebook, profiles
from seelike.errors import UnknownName
from seelike.models import WeightsSource, precision_of
from seelike.models.tiny import TINY
from seelike.notebook import start

PARAMETERS_CELL = dict(
    profile=None,
    models=None,
    images=None,
    probe_images=None,
    number_of_images=None,
    batch_size=None,
    repeats=None,
    seed=0,
    device=None,
    precision=None,
    weights=None,
)


@pytest.fixture
def shown(monkeypatch):
    """What start shows; and in the place of each network that it loads, a small module."""
    bundles = []
    monkeypatch.setattr(notebook, "show", bundles.append)

    def load(name, device="cpu"):
        module = torch.nn.Linear(1, 1).to(device)
        module.family = next((kind for kind in ("vit", "resnet", "mixer", "cnn") if kind in name), "other")
        return module

    monkeypatch.setattr(notebook.models, "load", load)
    monkeypatch.setattr(notebook.models, "family", lambda model: model.family)
    return bundles


def test_the_parameters_cell_as_it_stands_is_the_tiny_profile(shown):
    run = start(PARAMETERS_CELL)
    tiny = profiles.profile_of("tiny")
    assert (run.profile, run.seed) == ("tiny", 0)
    assert (run.vits, run.cnns, run.mixers) == (tiny.lists["vits"], tiny.lists["cnns"], [])
    assert (run.number_of_images, run.batch_size, run.repeats) == (
        tiny.number_of_images,
        tiny.batch_size,
        tiny.repeats,
    )
    assert run.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert len(shown) == 1


def test_the_profile_chooses_the_precision_and_the_user_may_change_it(shown):
    # The larger profiles' images and networks are not at hand: theirs is read off the table.
    assert [profiles.profile_of(name).precision for name in ("tiny", "colab", "paper")] == [
        "float32",
        "mixed",
        "float32",
    ]
    run = start({**PARAMETERS_CELL, "precision": "mixed"})
    assert {precision_of(model) for model in run.models.values()} == {"mixed"}
    assert "mixed precision" in shown[0]["text/plain"]
    assert shown[0][notebook.RUN_MIME]["precision"] == "mixed"
    with pytest.raises(UnknownName, match=r"'half'.*float32.*mixed"):
        start({**PARAMETERS_CELL, "precision": "half"})


def test_the_parameters_here_are_those_of_start():
    assert notebook.PARAMETERS == PARAMETERS_CELL


def test_what_is_shown_names_the_run_and_can_be_read_by_tools(shown):
    start({"number_of_images": 64, "batch_size": 16, "repeats": 1, "seed": 7, "device": "cpu"})
    (bundle,) = shown
    kept = json.loads(json.dumps(bundle[notebook.RUN_MIME], allow_nan=False))
    assert kept["models"] == ["tiny/vit_7x7", "tiny/vit_14x14", "tiny/resnet", "tiny/resnet_wide"]
    assert (kept["number_of_images"], kept["batch_size"], kept["repeats"], kept["seed"]) == (64, 16, 1, 7)
    assert kept["versions"]["torch"] == torch.__version__
    assert kept["versions"]["timm"] == timm.__version__
    assert kept["versions"]["seelike"] == seelike.__version__
    assert (kept["device"], kept["gpu"]) == ("cpu", None)
    for text in (value for key, value in bundle.items() if key.startswith("text/")):
        assert "64 images of fashion" in text
        assert "1 repeat," in text


def test_what_is_shown_names_the_weights(shown, monkeypatch):
    source = WeightsSource("model.safetensors", "a" * 64, repository="timm/vit_<b>", revision="c" * 40)
    monkeypatch.setattr(notebook.models, "weights_source", lambda model: source)
    start({"models": "vit_a,tiny/resnet", "device": "cpu"})
    (bundle,) = shown
    named = {"file": "model.safetensors", "sha256": "a" * 64, "repository": "timm/vit_<b>", "revision": "c" * 40}
    assert bundle[notebook.RUN_MIME]["weights"] == {"vit_a": named, "tiny/resnet": named}
    assert "Weights: timm/vit_<b> at cccccccccccc (sha256 aaaaaaaaaaaa)." in bundle["text/plain"]
    assert "timm/vit_&lt;b&gt; at" in bundle["text/html"]


def test_seeds(shown):
    draws = []
    for _ in range(2):
        start({"seed": 3})
        draws.append((torch.rand(2).tolist(), np.random.rand(2).tolist()))
    assert draws[0] == draws[1]


@pytest.mark.parametrize("models", ["tiny/mixer, resnet18:random", ["tiny/mixer", "resnet18:random"]])
def test_models_by_list_or_commas_take_their_role_by_family(shown, models):
    run = start({"models": models})
    assert (run.vits, run.cnns, run.mixers) == ([], ["resnet18:random"], ["tiny/mixer"])


def test_any_convolutional_network_takes_the_place_of_the_resnet(shown):
    run = start({"models": "vit_a,a_cnn,resnet18"})
    assert (run.cnns, run.others, run.names) == (["a_cnn", "resnet18"], [], ["vit_a", "a_cnn", "resnet18"])
    assert "Of no role" not in shown[0]["text/plain"]


def test_a_network_of_no_role_is_named_with_the_reason_and_counted_with_all(shown):
    run = start({"models": "swin_<a,vit_a"})
    assert (run.vits, run.cnns, run.mixers, run.others) == (["vit_a"], [], [], ["swin_<a"])
    assert run.names == ["vit_a", "swin_<a"]
    assert "Of no role: swin_<a. Their tokens do not stay on one grid" in shown[0]["text/plain"]
    assert "Of no role: swin_&lt;a." in shown[0]["text/html"]
    assert r"Of no role: swin\_\<a." in shown[0]["text/markdown"]


def test_the_networks_of_groups_alone_are_not_what_a_page_is_about(shown):
    run = start(PARAMETERS_CELL, "06_skip_connections")
    assert run.names == [*run.vits, *run.cnns]
    assert set(run.names) < set(run.models)


@pytest.mark.parametrize(
    ("given", "short"),
    [
        (["a@/long/path/weights.safetensors"], ["weights.safetensors"]),
        (["/a/b/weights.safetensors:224px", "timm/name"], ["weights.safetensors:224px", "timm/name"]),
        (["/a/b/w.safetensors", "c/b/v.safetensors"], ["w.safetensors", "v.safetensors"]),
        (["x@/a/b/c/w.safetensors", "x@/a/d/c/w.safetensors"], ["b/c/w.safetensors", "d/c/w.safetensors"]),
        (
            ["/a/w.safetensors", "/b/a/w.safetensors", "w.safetensors"],
            ["/a/w.safetensors", "b/a/w.safetensors", "w.safetensors"],
        ),
        (["x@/a/w.safetensors", "y@/a/w.safetensors"], ["x@/a/w.safetensors", "y@/a/w.safetensors"]),
        (["tiny/vit_7x7", "hub/w.bin"], ["tiny/vit_7x7", "hub/w.bin"]),
    ],
)
def test_a_file_goes_by_its_own_name_and_by_folders_that_tell_it_from_others(shown, given, short):
    run = start({"models": given, "device": "cpu"})
    assert list(run.models) == short
    record = shown[0][notebook.RUN_MIME]
    assert record["models"] == short
    assert [record["given_as"].get(name, name) for name in short] == given
    assert len(set(short)) == len(short)


def test_the_weights_of_a_file_go_by_its_short_name_and_the_record_has_the_path(shown, monkeypatch):
    source = WeightsSource("/long/path/w.safetensors", "a" * 64)
    monkeypatch.setattr(notebook.models, "weights_source", lambda model: source)
    start({"models": "vit@/long/path/w.safetensors", "device": "cpu"})
    (bundle,) = shown
    assert "Weights: w.safetensors (sha256 aaaaaaaaaaaa)." in bundle["text/plain"]
    assert bundle[notebook.RUN_MIME]["weights"]["w.safetensors"]["file"] == "/long/path/w.safetensors"


def test_groups_and_roles_go_by_short_names(shown):
    run = start({"models": "/long/path/vit_a.safetensors > /long/path/vit_b.safetensors"}, "G_finetuning")
    assert run.groups["finetuned"] == [["vit_a.safetensors", "vit_b.safetensors"]]
    assert run.vits == ["vit_a.safetensors", "vit_b.safetensors"]
    assert not any("long/path" in text for key, text in shown[0].items() if key.startswith("text/"))


def test_what_is_missing_is_said_with_what_to_give(shown, capsys):
    run = start({"models": "vit_a"}, "07_spatial_localization")
    run.say_missing("vits", "cnns")
    run.say_missing("cls_and_gap")
    run.say_missing("vits")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Nothing to show here. This run has no CNN: add one to models, such as resnet50."
    assert "'with_cls>with_gap'" in lines[1]
    assert "reason stands" in lines[2]
    with pytest.raises(UnknownName, match=r"'cnn'.*mean 'cnns'"):
        run.say_missing("cnn")


def test_every_role_can_be_missed():
    for role in (*profiles.LISTS, *profiles.GROUPS):
        assert role in notebook._A_NETWORK | notebook._A_GROUP


def test_networks_without_a_measurement_are_named_together_by_reason(capsys):
    def measure(name):
        if name != "d":
            raise ValueError("It has no heads." if name in "ac" else "It is too small.")
        return 4

    assert notebook.where_possible("abcd", measure) == {"d": 4}
    assert capsys.readouterr().out == "a, c: not here. It has no heads.\nb: not here. It is too small.\n"


def test_a_network_given_twice_is_loaded_once(shown):
    assert list(start({"models": "tiny/mixer,tiny/mixer"}).models) == ["tiny/mixer"]


@pytest.mark.parametrize("value", [5, "5", None, True, 0.5, [1], {"a": 1}])
def test_an_unknown_parameter_names_the_near_one(shown, value):
    with pytest.raises(UnknownName, match=r"'number_of_image'.*mean 'number_of_images'"):
        start({**PARAMETERS_CELL, "number_of_image": value})


def test_what_jupyter_and_colab_put_into_a_namespace_is_no_parameter(shown):
    start(
        {
            **PARAMETERS_CELL,
            "__name__": "__main__",
            "_": 3,
            "_i1": "profile = 'tiny'",
            "_dh": ["/content"],
            "__vsc_ipynb_file__": "a.ipynb",
            "In": ["", "x"],
            "Out": {},
            "exit": object(),
            "quit": object(),
            "open": open,
            "get_ipython": lambda: None,
            "importlib": importlib,
            "seelike": seelike,
        }
    )
    assert len(shown) == 1


def test_names_that_ipython_hides_are_no_parameters(shown, monkeypatch):
    shell = SimpleNamespace(user_ns_hidden={"from_a_start_up_file": 5})
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    monkeypatch.setattr(notebook.plots, "use_style", lambda: None)
    start({"from_a_start_up_file": 5})
    with pytest.raises(UnknownName, match="typed_by_hand"):
        start({"from_a_start_up_file": 5, "typed_by_hand": 5})


def test_the_cell_can_run_again_beside_the_notebooks_own_variables(shown):
    namespace = dict(PARAMETERS_CELL)
    namespace["run"] = start(namespace)
    namespace["layers_of_mine"] = 12
    assert start(namespace).profile == "tiny"


@pytest.mark.parametrize(
    ("parameters", "error", "said"),
    [
        ({"profile": "tinny"}, UnknownName, "Unknown profile 'tinny'. Did you mean 'tiny'"),
        ({"profile": 3}, TypeError, "profile must be one of tiny, pretrained, colab, paper; got 3"),
        ({"number_of_images": "512"}, TypeError, "number_of_images must be a whole number.*'512'"),
        ({"number_of_images": 512.0}, TypeError, "whole number.*512.0"),
        ({"number_of_images": True}, TypeError, "whole number.*True"),
        ({"number_of_images": 0}, ValueError, "number_of_images must be 4 or more; got 0"),
        ({"batch_size": 3}, ValueError, "batch_size must be 4 or more; got 3"),
        ({"repeats": 0}, ValueError, "repeats must be 1 or more; got 0"),
        ({"seed": -1}, ValueError, "seed must be 0 or more; got -1"),
        ({"number_of_images": 10_001}, ValueError, "number_of_images is 10001.*has 10000 images"),
        ({"number_of_images": 100, "batch_size": 200}, ValueError, "100.*less than one minibatch of 200"),
        ({"models": 3}, TypeError, "models must be a list of names.*got 3"),
        ({"models": [3]}, TypeError, "models must be a list of names"),
        ({"models": " , "}, ValueError, "at least one network"),
        ({"models": "tiny/mixer >"}, ValueError, "'tiny/mixer > '.*before>after"),
        ({"images": 2012}, TypeError, "images must be.*2012"),
        ({"device": "cudda"}, UnknownName, "Unknown device 'cudda'. Did you mean 'cuda'"),
        ({"device": "cuda:99"}, ValueError, "'cuda:99' is not on this machine. Here are: cpu"),
        ({"device": "cuda:x"}, UnknownName, "Unknown device 'cuda:x'"),
        ({"device": 0}, TypeError, "device must be a name"),
        ({"profile": "paper"}, ValueError, "-p images FOLDER"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_loaded(shown, monkeypatch, parameters, error, said):
    monkeypatch.setattr(notebook.models, "load", lambda *_, **__: pytest.fail("a network was loaded"))
    with pytest.raises(error, match=said):
        start({**PARAMETERS_CELL, **parameters})
    assert shown == []


@pytest.fixture
def folder(tmp_path):
    """Twelve images in a folder whose name could be read as markup."""
    path = tmp_path / "my_<photos>"
    path.mkdir()
    for number in range(12):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(path / f"{number}.png")
    return path


def test_a_profile_gives_way_to_a_small_folder_and_says_so(shown, folder):
    run = start({"images": str(folder)})
    assert (run.number_of_images, run.batch_size) == (12, 12)
    assert "Two repeats have on average 100 % of their 12 images in common" in shown[0]["text/plain"]
    assert (
        f"minibatch of {profiles.profile_of('tiny').batch_size} is cut to the 12 images" in shown[0]["text/plain"]
    )


def test_what_the_user_asks_of_a_small_folder_is_kept_or_refused(shown, folder):
    run = start({"images": folder, "number_of_images": 6, "batch_size": 4, "repeats": 2})
    assert (run.number_of_images, run.batch_size) == (6, 4)
    assert "in common" not in shown[0]["text/plain"]
    with pytest.raises(ValueError, match=r"13.*my_<photos> has 12 images"):
        start({"images": folder, "number_of_images": 13})
    with pytest.raises(ValueError, match=r"12.*minibatch of 13"):
        start({"images": folder, "batch_size": 13})


def test_a_folder_goes_by_its_own_name_and_the_record_has_the_path(shown, folder):
    assert start({"images": folder}).images.name == "my_<photos>"
    assert str(folder.parent) not in shown[0]["text/plain"]
    assert shown[0][notebook.RUN_MIME]["images"] == str(folder)


def test_a_folders_name_is_not_read_as_markup(shown, folder):
    start({"images": folder})
    assert "my_&lt;photos&gt;" in shown[0]["text/html"]
    assert r"my\_\<photos\>" in shown[0]["text/markdown"]


def test_fewer_images_than_cka_needs(shown, folder):
    for image in sorted(folder.iterdir())[3:]:
        image.unlink()
    with pytest.raises(ValueError, match="has 3 images; CKA needs 4 or more"):
        start({"images": folder})


@pytest.fixture
def loaded(folder, monkeypatch):
    """The image sets that start asks for; in the place of each, the twelve images of the folder."""
    asked, load = [], seelike.data.load

    def instead(name, **options):
        asked.append((name, options))
        return replace(load(folder), name=name, note="Fetched from <owner>/my_set.")

    monkeypatch.setattr(seelike.data, "load", instead)
    return asked


def test_on_colab_the_profile_is_that_of_its_machine(shown, loaded, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    assert start({}).profile == "tiny"
    assert "Change runtime type" in shown[-1]["text/plain"]
    assert start({"profile": "tiny"}).profile == "tiny"
    assert "Change runtime type" not in shown[-1]["text/plain"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert start({"device": "cpu"}).profile == "colab"
    assert start({"profile": "tiny", "device": "cpu"}).profile == "tiny"


def test_colab_takes_photographs_from_the_hub_and_says_under_what_terms(shown, loaded):
    start({"profile": "colab", "device": "cpu", "seed": 16})
    colab = profiles.profile_of("colab")
    assert colab.images.startswith("hub:")
    # Four repeats begin at quarters of the images.
    amount = 4 * colab.number_of_images
    assert loaded == [(colab.images, {"enough": amount, "seed": 16})]
    assert "under ImageNet's terms" in shown[0]["text/plain"]
    start({"profile": "colab", "device": "cpu", "images": "hub:owner/other", "number_of_images": 8, "repeats": 2})
    assert loaded[1] == ("hub:owner/other", {"enough": 16, "seed": 0})
    assert "ImageNet" not in shown[1]["text/plain"]


def test_what_is_known_of_the_images_is_said_and_not_read_as_markup(shown, loaded):
    start({"images": "hub:owner/my_set"})
    assert "Fetched from <owner>/my_set." in shown[0]["text/plain"]
    assert "Fetched from &lt;owner&gt;/my_set." in shown[0]["text/html"]
    assert r"Fetched from \<owner\>/my\_set." in shown[0]["text/markdown"]


def test_for_a_page_without_networks_nothing_is_fetched(shown, loaded):
    start({"profile": "colab", "device": "cpu"}, "09_discussion")
    assert [name for name, _ in loaded] == ["fashion-mnist/test"]
    assert "ImageNet" not in shown[0]["text/plain"]


def test_fewer_images_on_the_hub_than_asked_for(shown, loaded):
    with pytest.raises(ValueError, match=r"number_of_images is 13, but hub:owner/set has 12 images"):
        start({"images": "hub:owner/set", "number_of_images": 13})


def test_the_paper_profile_takes_a_folder(shown, folder):
    run = start({"profile": "paper", "device": "cpu", "images": folder})
    assert run.cnns == profiles.profile_of("paper").lists["cnns"]


@pytest.mark.parametrize("page", [None, *profiles.PAGES])
@pytest.mark.parametrize("name", profiles.NAMES)
def test_every_network_of_the_profiles_is_known(name, page):
    timm_names = set(timm.list_pretrained())
    profile = profiles.profile_of(name, page)
    for network in profile.networks:
        assert re.sub(r":\d+px$", "", network) in timm_names or network.removeprefix("tiny/") in TINY
    assert profile.number_of_images % profile.batch_size == 0
    for groups in profile.groups.values():
        assert groups, "the tiny networks have every role"
        assert all(len(group) > 1 for group in groups)


def test_a_page_brings_its_roles(shown):
    run = start(PARAMETERS_CELL, "A_methods")
    assert list(run.groups) == ["cls_and_gap"]
    assert run.groups["cls_and_gap"][0][0] in run.models
    with pytest.raises(UnknownName, match=r"'G_finetunning'.*mean 'G_finetuning'"):
        start(PARAMETERS_CELL, "G_finetunning")


@pytest.mark.parametrize("name", ["colab", "paper"])
def test_the_networks_of_after_the_paper_are_of_every_kind(name):
    """The page compares DINOv2 with registers and without, and lists self-supervised, distilled and ConvNeXt."""
    later = profiles.profile_of(name, "11_what_came_later").lists["later"]
    for part in ("dinov2", "_reg4_dinov2", ".dino", ".mae", "deit_base_distilled", "convnext"):
        assert any(part in network for network in later), part
    with_registers = next(network for network in later if "_reg4" in network)
    assert with_registers.replace("_reg4", "") in later
    # What sets them apart is how they were trained: nothing at `tiny` can stand in.
    assert profiles.profile_of("tiny", "11_what_came_later").lists["later"] == []


def test_networks_that_the_user_names_have_a_role_by_their_architecture(shown):
    run = start({"models": "tiny/vit_7x7"}, "11_what_came_later")
    assert run.lists == {"vits": ["tiny/vit_7x7"], "cnns": [], "mixers": [], "later": [], "others": []}


def test_groups_are_given_with_a_sign_between_the_names(shown):
    run = start({"models": "tiny/vit_7x7 > tiny/vit_7x7_gap, tiny/resnet"}, "07_spatial_localization")
    assert run.groups["cls_and_gap"] == [["tiny/vit_7x7", "tiny/vit_7x7_gap"]]
    assert (run.vits, run.cnns) == (["tiny/vit_7x7", "tiny/vit_7x7_gap"], ["tiny/resnet"])


def test_tiny_networks_see_garments_among_larger_ones(shown, folder):
    run = start({"profile": "paper", "device": "cpu", "images": folder}, "06_skip_connections")
    assert run.images_for(run.vits) is run.images
    assert run.images_for(run.groups["without_skips"][0]).name == "fashion-mnist/test"


def test_seelike_start_is_this_one():
    assert seelike.start is start
    with pytest.raises(AttributeError, match="strat"):
        seelike.strat  # noqa: B018


def test_every_repeat_draws_anew_and_the_same_every_time(shown):
    run = start({"number_of_images": 16, "batch_size": 8, "repeats": 3})
    draws = [images.places.tolist() for images in run.draws()]
    assert [len(draw) for draw in draws] == [16] * 3
    assert not any(set(one) & set(other) for one, other in combinations(draws, 2))
    assert draws == [images.places.tolist() for images in run.draws()]
    assert draws[0] == run.images.sample(16, seed=run.seed).places.tolist()


def test_of_a_small_other_set_each_repeat_takes_half(shown, folder):
    run = start({"number_of_images": 64, "batch_size": 16, "repeats": 2})
    other = seelike.data.load(folder)
    assert [len(images) for images in run.draws(other)] == [6, 6]
    with pytest.raises(ValueError, match=r"my_<photos> has 7 images, of which each repeat takes half"):
        list(run.draws(other.select(np.arange(7))))


def test_what_cannot_be_measured_is_said_and_left_out(capsys):
    def measure(name):
        if name == "b":
            raise ValueError("it has no heads")
        if name == "c":
            raise UnknownName("no such layer")
        return name.upper()

    assert seelike.where_possible("abcd", measure) == {"a": "A", "d": "D"}
    assert capsys.readouterr().out == "b: not here. it has no heads\nc: not here. no such layer\n"


# Networks of a profile that cannot be had


@pytest.fixture
def gone(monkeypatch, shown):
    """Names of networks that the hub does not have, or anything else that happens to them."""
    errors, load = {}, notebook.models.load

    def from_the_hub(name, device="cpu"):
        error = errors.get(name)
        if error is not None:
            error.happened = "it is not there."
            raise error
        return load(name, device)

    monkeypatch.setattr(notebook.models, "load", from_the_hub)
    return errors


def pretrained(folder, **others):
    return {"profile": "pretrained", "device": "cpu", "images": folder, **others}


def test_a_network_of_the_profile_that_is_gone_is_left_out_and_named(gone, shown, folder):
    first, second = profiles.profile_of("pretrained").lists["vits"]
    gone[second] = hub.NotOnTheHub("...")
    run = start(pretrained(folder), "05_local_global")
    assert run.vits == [first]
    assert f"Left out: {second}: it is not there." in shown[0]["text/plain"]
    record = shown[0][notebook.RUN_MIME]
    assert (record["left_out"], record["tiny_roles"]) == ({second: "it is not there."}, ["much_and_little_data"])


def test_tiny_networks_take_the_groups_that_are_gone_and_see_garments(gone, folder):
    ((much, little),) = profiles.profile_of("pretrained", "05_local_global").groups["much_and_little_data"]
    gone[little] = hub.NotAllowed("...")
    run = start(pretrained(folder), "05_local_global")
    # The tiny networks that stand in are those of this page: its text speaks of them.
    tiny = profiles.profile_of("tiny", "05_local_global")
    assert run.groups == tiny.groups
    assert run.own_groups("much_and_little_data") == []
    assert run.images_for(run.groups["much_and_little_data"][0]).name == "fashion-mnist/test"
    assert run.images_for([run.vits[0]]) is run.images
    assert run.probe_images_for(["tiny/vit_7x7"]).name == "fashion-mnist/test"
    assert much not in run.models


def test_a_page_without_any_network_of_those_it_is_about_is_that_of_the_tiny_profile(gone, shown, folder):
    gone |= {"mixer_b16_224.goog_in21k": hub.NotOnTheHub("...")}
    run = start(pretrained(folder), "H_mixer")
    tiny = profiles.profile_of("tiny", "H_mixer")
    assert (run.profile, run.lists, run.images.name) == ("pretrained", tiny.lists, "fashion-mnist/test")
    assert set(shown[0][notebook.RUN_MIME]["tiny_roles"]) == {"mixers", "vits", "cnns"}
    assert run.number_of_images == tiny.number_of_images
    assert "Left out: mixer_b16_224.goog_in21k" in shown[0]["text/plain"]


def test_a_page_of_one_group_that_the_hub_does_not_have_is_that_of_the_tiny_profile(gone, folder):
    gone |= {name: hub.NotOnTheHub("...") for name in profiles.profile_of("pretrained", "G_finetuning").networks}
    run = start(pretrained(folder), "G_finetuning")
    assert run.groups == profiles.profile_of("tiny", "G_finetuning").groups


def test_where_nothing_can_be_had_the_error_is_that_of_the_hub(gone, folder):
    gone |= {name: hub.Unreachable("no network") for name in profiles.profile_of("pretrained").networks}
    with pytest.raises(hub.Unreachable, match="no network"):
        start(pretrained(folder))


def test_other_errors_of_the_hub_are_not_passed_over(gone, folder):
    gone[profiles.profile_of("pretrained").lists["vits"][0]] = hub.DiskFull("full")
    with pytest.raises(hub.DiskFull):
        start(pretrained(folder))


def test_a_network_that_the_user_names_is_never_left_out(gone, folder):
    gone["resnet50"] = hub.NotOnTheHub("gone")
    with pytest.raises(hub.NotOnTheHub):
        start({"models": "resnet50, tiny/vit_7x7"})


def test_random_weights_are_those_of_the_same_networks(monkeypatch, shown):
    loaded, load = [], notebook.models.load
    monkeypatch.setattr(notebook.models, "load", lambda name, device: loaded.append(name) or load(name, device))
    run = start({"models": ["tiny/vit_7x7"], "weights": "random", "device": "cpu"})
    assert (list(run.models), loaded) == (["tiny/vit_7x7"], ["tiny/vit_7x7:random"])
    assert "untrained" in shown[0]["text/plain"]
    assert shown[0][notebook.RUN_MIME]["weights_given"] == "random"
    with pytest.raises(UnknownName, match=r"'rndom'.*'random'"):
        start({"weights": "rndom"})


def test_a_control_has_the_networks_that_the_trained_run_could_have(gone, folder):
    first, second = profiles.profile_of("pretrained").lists["vits"]
    gone[second] = hub.NotOnTheHub("...")
    run = start(pretrained(folder, weights="random"), "05_local_global")
    assert run.vits == [first]


def test_probes_have_images_of_their_own_where_they_are_named(shown, folder):
    assert start({"models": "vit_a"}).probe_images.name == "fashion-mnist/test"
    run = start({"models": "vit_a", "images": folder, "probe_images": "digits/test"})
    assert (run.images.name, run.probe_images.name) == (folder.name, "digits/test")
    assert start({"models": "vit_a", "images": folder}, "F_linear_probes").probe_images.name == folder.name
    with pytest.raises(TypeError, match="probe_images must be"):
        start({"models": "vit_a", "probe_images": 3})


def test_images_of_others_are_not_shown(shown, folder):
    run = start({"models": "vit_a", "images": folder})
    assert run.to_show(run.images).name == "photographs"
    textures = seelike.data.load("textures/test")
    assert run.to_show(textures) is textures


def test_the_list_of_images_has_a_hash(shown, folder):
    records = [
        start({"models": "vit_a", "images": images}) and shown[-1][notebook.RUN_MIME]
        for images in (folder, "digits/test", folder)
    ]
    hashes = [record["images_sha256"] for record in records]
    assert hashes[0] == hashes[2] != hashes[1]
    assert {len(each) for each in hashes} == {64}
