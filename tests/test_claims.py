"""Claims: the interval, the verdicts, and what is left in the notebook."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from seelike import claims
from seelike.errors import UnknownName

# Two-sided 95 % points of Student's t by degrees of freedom, from printed tables.
STUDENT = {1: 12.706, 4: 2.776, 19: 2.093}


@pytest.mark.parametrize("degrees", STUDENT)
def test_interval_is_students(degrees):
    values = np.random.default_rng(degrees).normal(0.2, 0.1, degrees + 1)
    result = claims.evaluate("uniform_layers", values)
    standard_deviation = np.sqrt(((values - values.mean()) ** 2).sum() / degrees)
    assert result.statistic == pytest.approx(values.mean(), abs=1e-12)
    # The tables give four digits.
    expected = STUDENT[degrees] * standard_deviation / np.sqrt(degrees + 1)
    assert result.uncertainty == pytest.approx(expected, rel=3e-4)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.3, 0.31, 0.29], "holds"),
        ([-0.3, -0.31, -0.29], "reversed"),
        ([0.01, 0.02, 0.0], "negligible"),
        ([-0.05, -0.06, -0.04], "does not hold"),
        ([0.3, -0.2, 0.1], "undecided"),
        ([0.2, 0.2], "holds"),
        ([0.0, 0.0], "negligible"),
        ([0.05, 0.05], "undecided"),
        ([5.0], "undecided"),
    ],
)
def test_verdict(values, verdict):
    result = claims.evaluate("uniform_layers", values)
    assert result.verdict == verdict
    assert bool(result.why) == (verdict == "undecided")


def test_one_repeat_says_that_the_uncertainty_is_not_known():
    result = claims.evaluate("uniform_layers", [0.4])
    assert result.uncertainty is None
    for text in (value for key, value in result._repr_mimebundle_().items() if key.startswith("text/")):
        assert "uncertainty not known" in text
        assert "Set repeats to 2 or more" in text


@pytest.mark.parametrize("values", [[0.1, float("nan")], [float("inf"), 0.1]])
def test_a_number_that_is_not_finite_names_the_claim(values):
    with pytest.raises(ValueError, match="'resnet_stages' needs finite numbers"):
        claims.evaluate("resnet_stages", values)


@pytest.mark.parametrize("values", [[], np.array([[0.1, 0.2]])])
def test_one_number_per_repeat(values):
    with pytest.raises(ValueError, match="one number per repeat"):
        claims.evaluate("resnet_stages", values)


def test_unknown_claim_names_the_near_one():
    with pytest.raises(UnknownName, match="Did you mean 'uniform_layers'"):
        claims.record("uniform_layer", [0.1, 0.2])
    with pytest.raises(UnknownName, match="Did you mean 'uniform_layers'"):
        claims.not_testable("uniform_layer", "No models.")


def test_machine_readable_form_survives_json():
    bundle = claims.evaluate("uniform_layers", [0.1, 0.2], figure_name="cka-within")._repr_mimebundle_()
    kept = json.loads(json.dumps(bundle[claims.CLAIM_MIME], allow_nan=False))
    assert kept["claim"]["id"] == "uniform_layers"
    assert kept["values"] == [0.1, 0.2]
    assert kept["figure_name"] == "cka-within"
    assert kept["verdict"] == "undecided"


def test_what_a_user_wrote_is_not_read_as_markup(monkeypatch):
    shown = []
    monkeypatch.setattr(claims, "show", shown.append)
    claims.not_testable("uniform_layers", "No photos in <b>my_photos</b> & *more*.")
    (bundle,) = shown
    assert "&lt;b&gt;my_photos&lt;/b&gt; &amp; *more*" in bundle["text/html"]
    assert r"\<b\>my\_photos" in bundle["text/markdown"]
    assert bundle[claims.CLAIM_MIME]["statistic"] is None
    assert "not testable" in bundle["text/plain"]


def test_cards_say_the_verdict_in_words_and_set_no_colour():
    for values in ([0.3, 0.31, 0.3], [-0.3, -0.31, -0.3], [0.0, 0.01, 0.0]):
        result = claims.evaluate("uniform_layers", values)
        text = result._repr_mimebundle_()["text/html"]
        assert f"{result.verdict} in these networks" in re.sub("<[^>]*>", "", text)
        assert "color" not in text


def test_small_uncertainties_keep_a_digit():
    result = claims.evaluate("uniform_layers", [0.1, 0.1 + 1e-6])
    assert re.match(r"0\.1\S* ± 0\.0+[1-9]", claims._number(result))


def listed(monkeypatch, *records):
    """What the list of a page shows, and the cards before it, after some calls that record."""
    shown = []
    monkeypatch.setattr(claims, "_recorded", {})
    monkeypatch.setattr(claims, "show", shown.append)
    for call in records:
        call()
    claims.on_this_page()
    return shown[-1], shown[:-1]


def test_the_list_of_a_page_has_each_claim_once_with_its_last_result(monkeypatch):
    bundle, cards = listed(
        monkeypatch,
        lambda: claims.record("uniform_layers", [0.3, 0.31]),
        lambda: claims.record_difference("resnet_stages", [np.array([0.1, 0.2])], [np.array([0.4, 0.5])]),
        lambda: claims.not_testable("gap_localizes_less", "This run has no <ViT>."),
        lambda: claims.record("uniform_layers", [-0.3, -0.31]),
    )
    assert len(cards) == 4
    for form, text in bundle.items():
        assert text.count(claims.CLAIMS["uniform_layers"].statement) == 1, form
        assert "-0.305" in text
        assert "0.305" not in text.replace("-0.305", "")
        assert text.count("⇄ reversed in these networks") == 2
        assert text.count("○ not testable") == 1
    # The scoreboard counts machine-readable records: the list must not bring them a second time.
    assert all(claims.CLAIM_MIME in card for card in cards)
    assert set(bundle) == {"text/plain", "text/html", "text/markdown"}


def test_a_page_without_claims_says_so(monkeypatch):
    bundle, _ = listed(monkeypatch)
    assert all("no claim so far" in text for text in bundle.values())


def test_every_claim_is_written_out():
    for name, claim in claims.CLAIMS.items():
        assert claim.id == name
        assert claim.statement.endswith(".")
        assert claim.paper.endswith((".", ".'"))
        assert not claim.statistic.endswith(".")
        assert claim.margin_reason.endswith(".")
        assert claim.margin > 0


def test_mean_and_uncertainty_works_on_every_entry_of_a_map():
    values = np.random.default_rng().normal(size=(5, 2, 3))
    mean, half_width = claims.mean_and_uncertainty(values)
    for i, j in np.ndindex(2, 3):
        one = claims.evaluate("uniform_layers", values[:, i, j])
        assert (mean[i, j], half_width[i, j]) == pytest.approx((one.statistic, one.uncertainty), abs=1e-12)
    assert np.isnan(claims.mean_and_uncertainty(values[:1])[1]).all()


def test_record_difference_averages_both_groups(capsys):
    claims.record_difference(
        "uniform_layers", [np.array([0.8, 0.9]), np.array([0.6, 0.5])], [np.array([0.4, 0.4])]
    )
    assert "0.300 ± 0.000" in capsys.readouterr().out


@pytest.mark.parametrize("groups", [([], [np.ones(2)]), ([np.ones(2)], [])])
def test_a_missing_group_makes_a_claim_not_testable(groups, capsys):
    claims.record_difference("uniform_layers", *groups)
    assert "not testable" in capsys.readouterr().out


def test_a_dead_layer_makes_a_claim_not_testable(capsys):
    claims.record_difference("uniform_layers", [np.array([0.8, 0.9])], [np.ones(2), np.array([0.4, np.nan])])
    said = capsys.readouterr().out
    assert "not testable. A number that it needs is not defined, such as the CKA of a dead layer" in said
    with pytest.raises(ValueError, match="finite numbers"):
        claims.record_difference("uniform_layers", [np.array([0.8, np.inf])], [np.ones(2)])


# Several trainings


THREE = {0: [0.30, 0.32, 0.31], 1: [0.36, 0.38, 0.37], 2: [0.33, 0.35, 0.34]}


def test_with_several_trainings_the_verdict_is_not_of_these_networks_alone():
    result = claims.evaluate("uniform_layers", THREE)
    assert (result.says, result.trainings) == ("holds", [3])
    assert result.values == pytest.approx((0.33, 0.35, 0.34))
    found = result.estimate
    assert (result.statistic, result.uncertainty) == (found.mean, found.half_width())
    assert claims.evaluate("uniform_layers", [0.3, 0.31, 0.32]).says == "holds in these networks"


def test_groups_of_several_trainings_are_compared_draw_by_draw(monkeypatch):
    shown = []
    monkeypatch.setattr(claims, "show", shown.append)
    ours = {seed: np.array(values) for seed, values in THREE.items()}
    # Two networks of each training, which are averaged; and one training without a name.
    twice = {seed: [values - 0.1, values + 0.1] for seed, values in ours.items()}
    for larger, smaller, says in ((ours, ours, "undecided"), (twice, [np.zeros(3)], "holds in these networks")):
        claims.record_difference("uniform_layers", larger, smaller)
        result = claims.Result.from_record(json.loads(json.dumps(shown[-1][claims.CLAIM_MIME])))
        assert result.says == says
        assert list(result.groups[0]) == ["0", "1", "2"]
        assert list(result.groups[0].values()) == [pytest.approx(tuple(values)) for values in THREE.values()]
    assert result.trainings == [3, 1]


def test_of_several_networks_each_counts_once():
    group = {"tiny/vit": [0.3, 0.32], "tiny/vit_seed_1": [0.4, 0.42], "tiny/large_vit": [0.1, 0.1]}
    result = claims.evaluate(
        "uniform_layers", group, {"tiny/resnet": [0.0, 0.0], "tiny/resnet_seed_1": [0.1, 0.1]}
    )
    assert (result.networks, result.trainings) == ([2, 1], [2, 2])
    assert claims.spread_over(result) == "2 networks and 2 trainings x 2 repeats"
    assert result.values == pytest.approx((0.175, 0.185))
    assert result.statistic == pytest.approx(0.18)
    assert result.estimate.degrees <= 2
    # What the record keeps is every training.
    assert list(result.groups[0]) == list(group)


def test_what_takes_several_networks_is_undecided_by_one():
    one = claims.evaluate("local_heads_look_like_resnet", {"vit": [0.79, 0.80, 0.81], "vit_seed_1": [0.8] * 3})
    assert (one.verdict, one.why) == ("undecided", "It takes 2 networks or more; here is 1.")
    two = claims.evaluate("local_heads_look_like_resnet", {"vit": [0.79, 0.80, 0.81], "deit": [0.8] * 3})
    assert two.verdict == "holds"


def test_a_dead_layer_in_one_training_makes_a_claim_not_testable(capsys):
    dead = {0: np.array([0.8, 0.9]), 1: np.array([0.8, np.nan])}
    claims.record_difference("uniform_layers", dead, {0: np.ones(2)})
    assert (
        "not testable. A number that it needs is not defined, such as the CKA of a dead layer"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("values", [{}, {0: [0.1, 0.2], 1: [0.1]}, {0: np.ones((1, 2))}])
def test_each_training_needs_one_number_per_repeat(values):
    with pytest.raises(
        ValueError, match="'resnet_stages' needs one number per repeat, and as many of each training"
    ):
        claims.evaluate("resnet_stages", values)


def test_a_record_of_before_trainings_had_names_is_read():
    record = json.loads(json.dumps(claims.evaluate("uniform_layers", [0.1, 0.2])._repr_mimebundle_()))
    record = record[claims.CLAIM_MIME]
    for name in ("groups", "before_training"):
        del record[name]
    for name in claims.OF_THE_VERDICT:
        del record["claim"][name]
    result = claims.Result.from_record(record)
    assert (result.values, result.trainings, result.claim.margin) == ((0.1, 0.2), [1], 0)


def test_no_network_at_all_makes_a_claim_not_testable(capsys):
    claims.record("vit_fields_jump", {}, otherwise="There is no ViT.")
    assert "not testable. There is no ViT." in capsys.readouterr().out


def test_a_number_that_is_not_defined_makes_a_claim_not_testable(capsys):
    claims.record("vit_fields_jump", [0.1, np.nan])
    assert "not testable. A number that it needs is not defined" in capsys.readouterr().out
    claims.record("uniform_layers", [0.1, 0.2], by_neighbours=[0.1, np.nan])
    assert "not testable. A number that it needs is not defined" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("by_cka", "by_neighbours", "expected"),
    [
        ([0.30, 0.31, 0.32], [0.02, 0.021, 0.022], "holds"),  # the direction is enough
        ([0.30, 0.31, 0.32], [-0.01, 0.0, 0.01], "depends on the measure"),
        ([0.30, 0.31, 0.32], [-0.30, -0.31, -0.32], "depends on the measure"),
        ([0.30, 0.31, 0.32], [-0.1, 0.05, 0.1], "undecided"),
        ([-0.30, -0.31, -0.32], [-0.1, -0.05, 0.1], "undecided"),
        ([-0.30, -0.31, -0.32], [-0.01, 0.0, 0.01], "depends on the measure"),
        ([-0.30, -0.31, -0.32], [-0.02, -0.021, -0.022], "reversed"),
        ([-0.30, -0.31, -0.32], [0.2, 0.21, 0.22], "depends on the measure"),
        ([0.01, 0.011, 0.012], [0.03, 0.031, 0.032], "negligible"),
        ([0.01, 0.011, 0.012], [0.2, 0.21, 0.22], "depends on the measure"),
        ([-0.045, -0.05, -0.055], [0.2, 0.21, 0.22], "depends on the measure"),
        ([0.0, 0.05, 0.1], [0.2, 0.21, 0.22], "undecided"),
    ],
)
def test_another_measure_takes_back_what_it_contradicts(by_cka, by_neighbours, expected):
    result = claims.evaluate("uniform_layers", by_cka, by_neighbours=[by_neighbours])
    assert result.verdict == expected
    assert claims.Result.from_record(result._repr_mimebundle_()[claims.CLAIM_MIME]) == result


def test_another_measure_of_two_groups_of_trainings(capsys):
    vits, cnns = ({seed: np.array([mean, mean + 0.01]) for seed in range(3)} for mean in (0.8, 0.4))
    claims.record_difference("uniform_layers", vits, cnns, by_neighbours=(cnns, vits))
    said = capsys.readouterr().out
    assert "≠ depends on the measure. By CKA: holds. By the nearest neighbours that layers share: -0.400" in said


def test_one_repeat_has_no_uncertainty_by_either_measure(capsys):
    claims.record("uniform_layers", [0.1], by_neighbours=[0.2])
    said = capsys.readouterr().out
    assert "By shared neighbours in the place of CKA: 0.200." in said


def test_claims_are_read_without_torch():
    code = (
        "import sys, seelike.verdicts; assert 'seelike.claims' in sys.modules; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
