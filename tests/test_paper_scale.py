"""The script of the page 'Speed' at its smallest: it runs, goes on, counts and writes. Nothing is timed here."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import expected  # noqa: E402
import few_shot_baseline  # noqa: E402
import hardware  # noqa: E402
import paper_scale  # noqa: E402
import receptive_field  # noqa: E402
import scale  # noqa: E402
import side_by_side  # noqa: E402
import speed_page  # noqa: E402

from seelike.models import layers  # noqa: E402

RATES = {"float32": 1e11, "bfloat16": 2e11, "float64": 5e10, "copy": 1e10}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Results in a folder of their own, and rows so small that they take a moment."""
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    monkeypatch.setattr(paper_scale, "rates", lambda device: RATES)
    for name, row in paper_scale.ROWS.items():
        small = replace(row.small, passes=4, units=min(row.small.units, 3))
        small = replace(small, images=min(small.images, 8), minibatch=min(small.minibatch, 4))
        small = replace(small, networks=tuple(name.replace(scale.VIT, "test_vit") for name in small.networks))
        if name == "cka_peers":
            small = replace(small, networks=("test_vit", "test_vit"), depth=1)
        if small.classes:
            small = replace(small, images=12, classes=2, test=4)
        monkeypatch.setitem(paper_scale.ROWS, name, replace(row, small=small))
    monkeypatch.setitem(paper_scale.AXES, "small", {"images": [8, 12], "layers": [1]})
    middle = paper_scale._MIDDLE["small"]
    tiny = replace(middle, images=8, minibatch=4, passes=4, classes=2, test=4, side=32, depth=1, layers=1)
    monkeypatch.setitem(paper_scale._MIDDLE, "small", tiny)
    return tmp_path / "paper_scale.json"


def run(*given):
    paper_scale.main(["--device", "cpu", "--precisions", "float32", *given])


# One of each kind: the others differ by their networks.
KINDS = ["figure_2", "figure_3_vit_h14", "figure_6_subset_vit_b32", "figure_7_vit_b16", "figure_9", "figure_11"]


def test_every_kind_of_row_runs_and_says_what_it_took(results):
    run("--rounds", "2", "--only", *KINDS)
    records = json.loads(results.read_text())
    assert set(records) == {f"{name}, float32, small, cpu" for name in KINDS}
    for record in records.values():
        assert [len(each) for each in record["seconds"].values()] == [2] * len(record["seconds"])
        assert record["ratio"]["lowest"] <= record["ratio"]["median"] <= record["ratio"]["highest"]
        assert record["costs"]["ours"]["operations"]["float32"] > 0
        assert record["costs"]["ours"]["bytes"] > record["costs"]["against"]["bytes"]
        assert record["peak_gigabytes"] > 0
        assert record["scale"] == "small"
        assert {"torch", "timm"} <= set(record["versions"])
        assert record["command"].startswith("python benchmarks/paper_scale.py --device cpu --scale small --only")


def test_rows_beside_peers(results):
    pytest.importorskip("torch_cka")  # and with it the other: they are installed together
    run("--rounds", "1", "--only", "probe_peers", "cka_peers")
    records = json.loads(results.read_text())
    assert set(records["cka_peers, float32, small, cpu"]["peers"]) == {"pytorch-cka", "torch_cka"}
    assert records["probe_peers, float32, small, cpu"]["against"] == "big_vision's few-shot probe"


def test_what_was_stopped_goes_on_and_what_is_there_is_not_measured_again(results, monkeypatch, capsys):
    row, only = "figure_7_vit_b16", ("--only", "figure_7_vit_b16")
    timed = side_by_side.side_by_side
    rounds = []

    def killed_in_the_third(*works, **options):
        rounds.append(1)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return timed(*works, **options)

    monkeypatch.setattr(side_by_side, "side_by_side", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        run("--rounds", "4", *only)
    key = f"{row}, float32, small, cpu"
    before = json.loads(results.read_text())[key]["seconds"]["ours"]
    assert len(before) == 2
    run("--rounds", "4", *only)
    after = json.loads(results.read_text())[key]["seconds"]["ours"]
    assert len(after) == 4
    assert after[:2] == before

    run("--rounds", "4", *only)
    assert "measured already" in capsys.readouterr().out
    assert len(rounds) == 5
    run("--rounds", "1", "--again", *only)
    assert len(json.loads(results.read_text())[key]["seconds"]["ours"]) == 1


@pytest.mark.parametrize(
    ("what", "axis", "changed"),
    [
        ("attention distance", "layers", "depth"),
        ("attention distance", "batch", "passes"),
        ("probes", "batch", "passes"),
        ("localization", "batch", "minibatch"),
        ("CKA of all layers", "layers", "layers"),
        ("CKA of all layers", "images", "images"),
    ],
)
def test_one_thing_grows(what, axis, changed):
    middle = paper_scale._MIDDLE["small"]
    grown = paper_scale.grown(paper_scale.GROWING[what], middle, axis, 7)
    assert grown == replace(middle, **{changed: 7})


def test_tokens_grow_with_the_side():
    middle = paper_scale._MIDDLE["small"]
    assert paper_scale.grown(paper_scale.GROWING["probes"], middle, "tokens", 49).side == 7 * 16


@pytest.mark.parametrize("changed", ["code", "versions", "device"])
def test_other_code_or_another_machine_begins_anew(results, changed):
    now = {"code": "1", "versions": {"torch": "2"}, "device": "a", "threads": 1}
    records = {"row": {**now, changed: "other", "seconds": {"ours": [1.0]}}}
    assert paper_scale.begun(records, "row", {**now, "seconds": {}}, again=False)["seconds"] == {}
    assert records["row"][changed] == now[changed]


def test_code_is_named_by_what_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_scale, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/a.py").write_text("1")
    before = paper_scale.code()
    (tmp_path / "benchmarks/results.json").write_text("{}")
    (tmp_path / "benchmarks/speed_page.py").write_text("a page")
    assert paper_scale.code() == before
    (tmp_path / "benchmarks/a.py").write_text("2")
    assert paper_scale.code() != before


def test_growth_has_every_point_and_goes_on(results, monkeypatch):
    run("--rounds", "1", "--only", "growth")
    records = json.loads(results.read_text())
    assert len(records) == len(paper_scale.GROWING)
    for record in records.values():
        assert {axis: list(points) for axis, points in record["points"].items()} == {
            "images": ["8", "12"],
            "layers": ["1"],
        }
    monkeypatch.setattr(paper_scale, "prepared", None)  # would fail, were anything measured again
    run("--rounds", "1", "--only", "growth")


def test_out_of_memory_does_not_end_the_other_rows(results, monkeypatch, capsys):
    def too_large(size, models, images):
        raise torch.cuda.OutOfMemoryError("tried to allocate 1 PB")

    row = paper_scale.ROWS["figure_9"]
    monkeypatch.setitem(paper_scale.ROWS, "figure_9", replace(row, prepare=too_large))
    run("--rounds", "1", "--only", "figure_9", "figure_7_vit_b16")
    assert "Figure 9, ViT-B/16, float32: out of memory (tried to allocate 1 PB)" in capsys.readouterr().out
    records = json.loads(results.read_text())
    assert "1 PB" in records["figure_9, float32, small, cpu"]["failed"]
    assert records["figure_7_vit_b16, float32, small, cpu"]["seconds"]["ours"]


def test_operations_and_bytes_of_a_known_case():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    with hardware.Costs() as costs:
        a @ b
    assert costs.by_type == {"float32": 2 * 3 * 4 * 5}
    assert costs.bytes == 4 * (3 * 4 + 4 * 5 + 3 * 5)

    wide, total = torch.ones(2, 6, 6, dtype=torch.float64), torch.zeros(2, 6, 6, dtype=torch.float64)
    with hardware.Costs() as costs:
        total.view(2, 6, 6).baddbmm_(wide, wide)
        torch.linalg.eigh(total)
    assert costs.by_type == {"float64": 2 * 2 * 6**3 + 9 * 2 * 6**3}


def test_views_move_nothing_and_what_is_expanded_is_there_once():
    row = torch.ones(1, 100)
    with hardware.Costs() as costs:
        row.expand(50, 100).T.view(100, 50).contiguous()
    assert costs.bytes == 4 * 100 + 4 * 50 * 100


def test_shares_are_of_the_measured_rates():
    rate = {"float32": 100.0, "bfloat16": 400.0, "copy": 10.0}
    found = hardware.shares({"float32": 100, "float16": 400}, moved=20, seconds=4, rate=rate)
    assert found == {"products": 0.5, "copies": 0.5}


@pytest.mark.parametrize("name", ["figure_3_vit_h14", "figure_7_resnet50", "figure_9", "figure_11"])
def test_what_is_expected_is_what_is_counted(results, monkeypatch, name):
    row = paper_scale.ROWS[name]
    # So many images that what does not grow with them hardly counts, and of probes more than features; a CPU makes
    # the blocks of small Grams whole.
    # Localization plans its memory by passes of five images for each minibatch that is counted.
    images, minibatch = {"figure_11": (168, 32), "figure_9": (96, 96)}.get(name, (64, 32))
    size = replace(row.small, images=images, passes=16, minibatch=minibatch, test=8)
    monkeypatch.setattr(expected, "OF_BLOCKS", 1)
    row = replace(row, small=size)
    bare, added = (sum(each.values()) for each in expected.expected(row, "small"))
    counted = paper_scale.count(paper_scale.prepared(row, size, "cpu", "float32"), size)
    ours, against = (sum(counted[key]["operations"].values()) for key in ("ours", "against"))
    assert against == pytest.approx(bare)
    assert ours == pytest.approx(bare + added, rel=0.07)


def test_images_have_the_spectrum_of_photographs():
    images = scale.natural_like(20, 64, "cpu")
    assert images.shape == (20, 3, 64, 64)
    torch.testing.assert_close(images.mean(dim=(1, 2, 3)), torch.zeros(20), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std(dim=(1, 2, 3)), torch.ones(20), atol=1e-4, rtol=0)
    power = torch.fft.fft2(images).abs().square().mean(dim=(0, 1))[0, 1:32]
    frequency = torch.arange(1, 32)
    slope = np.polyfit(frequency.log().numpy(), power.log().numpy(), 1)[0]
    assert slope == pytest.approx(-2, abs=0.3)
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize(("n", "d"), [(60, 5), (12, 30)])
def test_the_few_shot_probe_is_ridge_regression_of_standardised_features(n, d):
    features = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 7
    labels = torch.arange(n) % 3
    probe = few_shot_baseline.fit_few_shot_probe(features, labels, 3, strength=2.0)
    x = features.numpy()
    x = np.column_stack([(x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5), np.full(n, 100.0)])
    targets = 2 * np.eye(3)[labels] - 1
    weights = np.linalg.solve(x.T @ x + 2 * np.eye(d + 1), x.T @ targets)
    np.testing.assert_allclose(probe.weights.numpy(), weights, atol=1e-8)
    assert probe.predict(features).tolist() == (x @ weights).argmax(axis=1).tolist()


@pytest.mark.parametrize("name", ["test_vit", "resnetv2_18"])
def test_bare_backward_passes_are_from_the_centre_of_every_layer(name, monkeypatch):
    model = scale.network(name, "cpu", scale.Size((name,), 1, 1))
    side = 160 if name == "test_vit" else 32
    places = [layer for layer in layers(model) if layer.kind in receptive_field.STREAM][:3]
    passes = []
    differentiate = torch.autograd.grad

    def grad(outputs, inputs, chosen, **options):
        passes.append(int(chosen.sum()))
        return differentiate(outputs, inputs, chosen, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    receptive_field.bare(model, places, torch.randn(2, 3, side, side), rows=24)
    # 64 channels in chunks of 24, for two images and three layers.
    assert passes == [24, 24, 16] * 3 * 2


def test_the_page_has_a_line_for_each_row_that_was_measured_and_no_other(results, monkeypatch):
    # The test of the committed page works out the operations at the paper's size, which takes long.
    monkeypatch.setattr(speed_page, "expected", lambda row: expected.expected(row, "small"))
    run("--rounds", "1", "--only", "figure_9", "figure_6_subset_vit_b32")
    text = speed_page.write_page()
    time = text.partition("<!-- time -->")[2].partition("<!-- end")[0]
    assert "GPU" not in time
    rows = [line for line in time.splitlines() if line.startswith("| Figure")]
    assert len(rows) == 2
    assert any(line.startswith("| Figure 9, ViT-B/16 | test_vit; 8 images | 1.2 x | ") for line in rows)
    assert {path.name for path in results.parent.iterdir()} == {
        "paper_scale.json",
        "paper_scale.md",
        "paper_scale_limits.png",
        "paper_scale_growth.png",
    }


def test_the_committed_page_is_that_of_the_results(tmp_path, monkeypatch):
    there = BENCHMARKS / "results"
    (tmp_path / "paper_scale.json").write_text((there / "paper_scale.json").read_text())
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    assert speed_page.write_page() == (there / "paper_scale.md").read_text(), "run benchmarks/speed_page.py"
