"""The rule by which a claim holds: against formulas and scipy, and on simulated trainings whose truth is known.

`pytest -s tests/test_rule.py` prints how often each verdict is given.
"""

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from seelike import data, evidence, models
from seelike.cka import compare_models
from seelike.claims import CLAIMS
from seelike.data import draws as of_images

MARGIN = 1.0
# Spread between trainings, between draws of images, and of what is left, in units of the margin.
TRAININGS, DRAWS, REST = 0.5, 0.3, 0.2
REPEATED = 500
# Three standard errors of a share near 5 % in so many repetitions.
CHANCE = 3 * math.sqrt(0.05 * 0.95 / REPEATED)


# The estimate


def slow_estimate(*groups, overlap=0.0):
    """Mean, standard error and degrees of freedom, sum by sum as the head of `seelike.evidence` has them."""
    draws = len(groups[0][0])
    terms, mean = [], 0.0
    by_draw = [0.0] * draws
    for group, sign in zip(groups, (1, -1), strict=False):
        means = [sum(training) / draws for training in group]
        middle = sum(means) / len(group)
        mean += sign * middle
        for draw in range(draws):
            by_draw[draw] += sign * sum(training[draw] for training in group) / len(group)
        if len(group) > 1:
            squares = sum((one - middle) ** 2 for one in means)
            terms.append((squares / (len(group) - 1) / len(group), len(group) - 1))
    squares = sum((one - mean) ** 2 for one in by_draw)
    wider = (1 + (draws - 1) * overlap) / (1 - overlap)
    terms.append((wider * squares / (draws - 1) / draws, max(1, (draws - 1) * (1 - overlap) ** 2)))
    total = sum(term for term, _ in terms)
    degrees = total**2 / sum(term**2 / degrees for term, degrees in terms)
    if len(terms) > 1:
        degrees = min(degrees, sum(degrees for _, degrees in terms[:-1]))
    return mean, math.sqrt(total), degrees


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(
    ("shapes", "seed"), [([(1, 3)], 0), ([(3, 4)], 1), ([(5, 3), (2, 3)], 2), ([(4, 10), (1, 10)], 3)]
)
def test_the_estimate_is_that_of_the_formula(shapes, seed, overlap):
    generator = np.random.default_rng(seed)
    groups = [generator.normal(size=shape) for shape in shapes]
    found = evidence.estimate(*(dict(enumerate(group)) for group in groups), overlap=overlap)
    expected = slow_estimate(*(group.tolist() for group in groups), overlap=overlap)
    assert (found.mean, found.error, found.degrees) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_with_one_training_it_is_students_test(draws):
    values = np.random.default_rng(draws).normal(0.3, 0.1, draws)
    found = evidence.estimate(values)
    test = stats.ttest_1samp(values, MARGIN)
    interval = test.confidence_interval(0.95)
    assert found.half_width() == pytest.approx((interval.high - interval.low) / 2, rel=1e-9)
    assert evidence.p_value(found, MARGIN) == pytest.approx(test.pvalue, rel=1e-9)


def test_where_images_make_no_difference_it_is_welchs_test():
    generator = np.random.default_rng(0)
    ours, theirs = generator.normal(2, 1, 5), generator.normal(0, 3, 4)
    found = evidence.estimate(*({seed: [x] * 3 for seed, x in enumerate(group)} for group in (ours, theirs)))
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert found.degrees == pytest.approx(test.df, rel=1e-9)
    assert found.half_width() == pytest.approx((interval.high - interval.low) / 2, rel=1e-9)
    assert evidence.p_value(found, 0.0) == pytest.approx(test.pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("number", "draws"), [(20, 5), (40, 5), (70, 3), (95, 2), (50, 4), (50, 8), (25, 8), (20, 20)]
)
def test_draws_that_share_images_cover_the_truth_as_often_as_the_rate_says(number, draws):
    generator = np.random.default_rng(number)
    missed = missed_without = 0
    for repeat in range(4 * REPEATED):
        images = generator.normal(size=100)
        seeds = range(8 * repeat, 8 * repeat + draws)
        means = [images[of_images.draw(100, number, seed)].mean() for seed in seeds]
        shared = of_images.overlap(100, number, 0, draws)
        for allowed in (shared, 0.0):
            found = evidence.estimate(means, overlap=allowed)
            outside = abs(found.mean) > found.half_width()
            missed, missed_without = missed + (outside and allowed == shared), missed_without + outside
    # Half of the three standard errors: there are four times as many.
    assert missed / (4 * REPEATED) < 0.05 + CHANCE / 2
    assert shared == 0 or missed_without > 1.2 * missed


def test_draws_of_the_same_images_tell_no_error():
    found = evidence.estimate({0: [5.0, 5.1], 1: [5.2, 5.2]}, overlap=1.0)
    assert found.mean == pytest.approx(5.125)
    assert math.isnan(found.error)
    with pytest.raises(ValueError, match="a share of the images of a draw, from 0 to 1; got 2"):
        evidence.estimate([1.0, 2.0], overlap=2.0)


def test_one_draw_tells_no_error_and_decides_nothing():
    for values in ([5.0], {0: [5.0], 1: [5.1], 2: [5.2]}):
        found = evidence.estimate(values)
        assert math.isnan(found.error)
        assert {evidence.verdict(found, MARGIN, kind) for kind in ("difference", "none", "no_less")} == {
            "undecided"
        }


def test_values_that_agree_have_no_error_and_are_beyond_the_margin_or_not():
    found = evidence.estimate({0: [2.0, 2.0], 1: [2.0, 2.0]})
    assert (found.error, found.degrees) == (0, 1)
    assert [evidence.p_value(found, margin) for margin in (1.0, 2.0, 3.0)] == [0, 1, 0]
    assert [evidence.verdict(found, margin) for margin in (1.0, 2.0, 3.0)] == ["holds", "undecided", "negligible"]


@pytest.mark.parametrize("values", [[], {}, {0: []}, {0: [1.0, 2.0], 1: [1.0]}, np.ones((2, 2))])
def test_what_is_not_one_number_for_each_draw_is_refused(values):
    with pytest.raises(ValueError, match="one number for each draw"):
        evidence.estimate(values)


def test_groups_on_other_draws_are_refused():
    with pytest.raises(ValueError, match="the same draws; got 2 and 3"):
        evidence.estimate({0: [1.0, 2.0]}, {0: [1.0, 2.0, 3.0]})


# Verdicts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (
            1.1,
            2.0,
            {
                "difference": "holds",
                "none": "does not hold",
                "no_less": "holds",
                "threshold": "holds",
                "everywhere": "holds",
            },
        ),
        (0.9, 2.0, {"difference": "undecided", "none": "undecided", "no_less": "holds"}),
        (
            -0.9,
            0.9,
            {"difference": "negligible", "none": "holds", "no_less": "holds", "threshold": "does not hold"},
        ),
        (-1.1, 0.9, {"difference": "does not hold", "none": "undecided", "no_less": "undecided"}),
        (
            -2.0,
            -1.1,
            {
                "difference": "reversed",
                "none": "does not hold",
                "no_less": "does not hold",
                "everywhere": "does not hold",
            },
        ),
        (-1.1, 1.1, {"difference": "undecided", "none": "undecided", "no_less": "undecided"}),
    ],
)
def test_each_place_of_an_interval_has_its_verdict(low, high, expected):
    width = evidence.Estimate(0.0, 1.0, 4.0).half_width()
    found = evidence.Estimate((low + high) / 2, (high - low) / 2 / width, 4.0)
    assert {kind: evidence.verdict(found, MARGIN, kind) for kind in expected} == expected


@pytest.mark.parametrize("kind", ["difference", "none", "no_less", "threshold", "everywhere"])
def test_the_p_value_is_the_rate_at_which_a_verdict_begins(kind):
    generator = np.random.default_rng(0)
    for mean, error in zip(generator.normal(0, 2, 50), generator.uniform(0.1, 1, 50), strict=True):
        found = evidence.Estimate(mean, error, 3.5)
        p = evidence.p_value(found, MARGIN, kind)
        assert evidence.verdict(found, MARGIN, kind, rate=1.001 * p) != "undecided"
        assert evidence.verdict(found, MARGIN, kind, rate=0.999 * p) == "undecided"


# By the other measure the interval lies above the margin, over it, within both, over minus the margin, below it.
@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        (
            "holds",
            ["holds", "holds", "depends on the measure", "depends on the measure", "depends on the measure"],
        ),
        (
            "negligible",
            ["depends on the measure", "undecided", "negligible", "undecided", "depends on the measure"],
        ),
        ("does not hold", ["depends on the measure", "undecided", *["does not hold"] * 3]),
        ("reversed", [*["depends on the measure"] * 3, "reversed", "reversed"]),
        ("undecided", ["undecided"] * 5),
    ],
)
def test_another_measure_confirms_a_verdict_or_takes_it_back(decided, expected):
    others = [evidence.Estimate(middle, 0.1, 4.0) for middle in (2.0, 1.0, 0.0, -1.0, -2.0)]
    assert [evidence.confirmed(decided, other, MARGIN) for other in others] == expected


def test_the_margin_of_cka_is_what_two_trainings_that_differ_in_their_seed_differ_by():
    names = ["tiny/vit_7x7_small", "tiny/vit_7x7_small_seed_1", "tiny/vit_7x7_small_seed_2"]
    networks = {name: models.load(name) for name in names}
    images = data.load("fashion-mnist")
    found = compare_models(networks, images, number_of_images=512, batch_size=128, repeats=1, seed=0)
    maps = [found.between(name, name).mean(axis=0) for name in names]
    pairs = ~np.eye(len(maps[0]), dtype=bool)
    apart = np.mean([np.abs(one - other)[pairs].mean() for one, other in combinations(maps, 2)])
    margin = CLAIMS["uniform_layers"].margin
    assert apart == pytest.approx(margin, rel=0.2)
    of_cka = [claim for claim in CLAIMS.values() if "of CKA in a pair of layers" in claim.margin_reason]
    assert {claim.margin for claim in of_cka} == {margin}


# The correction


@pytest.mark.parametrize("seed", range(20))
def test_the_correction_rejects_what_that_of_scipy_rejects(seed):
    p = np.random.default_rng(seed).uniform(size=37) ** (1 + seed % 4)
    rate = evidence.corrected_rate(p.tolist())
    assert (p <= rate).tolist() == (stats.false_discovery_control(p) <= evidence.RATE).tolist()


def test_without_tests_nothing_is_corrected():
    assert evidence.corrected_rate([]) == 0
    assert evidence.corrected_rate([0.2, 0.9]) == 0


# Simulated trainings


def simulated(generator, effect, trainings, draws, repeated=REPEATED):
    """A statistic, by repetition, training and draw: with a part of its training, of its draw, and a rest."""
    of_training = generator.normal(0, TRAININGS, (repeated, trainings, 1))
    of_draw = generator.normal(0, DRAWS, (repeated, 1, draws))
    return effect + of_training + of_draw + generator.normal(0, REST, (repeated, trainings, draws))


def share_that_hold(effect, trainings, draws):
    generator = np.random.default_rng([int(10 * effect), trainings, draws])
    found = [
        evidence.verdict(evidence.estimate(dict(enumerate(values))), MARGIN)
        for values in simulated(generator, effect * MARGIN, trainings, draws)
    ]
    return found.count("holds") / len(found)


@pytest.fixture(scope="module")
def rates():
    """How often a claim is said to hold, by the true effect in units of the margin, trainings and draws."""
    found = {case: share_that_hold(*case) for case in product((0.0, 0.5, 1.0, 2.0, 3.0), (1, 3, 5), (3, 10))}
    print("\n| trainings | draws | no effect | half the margin | the margin | twice | three times |")
    print("|---|---|---|---|---|---|---|")
    for trainings, draws in product((1, 3, 5), (3, 10)):
        shares = [found[effect, trainings, draws] for effect in (0.0, 0.5, 1.0, 2.0, 3.0)]
        print(f"| {trainings} | {draws} |", " | ".join(f"{100 * share:.1f} %" for share in shares), "|")
    return found


@pytest.mark.parametrize(("trainings", "draws"), list(product((3, 5), (3, 10))))
@pytest.mark.parametrize("effect", [0.0, 0.5, 1.0])
def test_what_is_not_beyond_the_margin_seldom_holds(rates, effect, trainings, draws):
    assert rates[effect, trainings, draws] <= 0.05 + CHANCE


def test_a_large_effect_is_found_with_five_trainings(rates):
    assert rates[2.0, 5, 3] > 0.6
    assert rates[3.0, 5, 3] > 0.95
    assert rates[3.0, 5, 3] > rates[3.0, 3, 3]


@pytest.mark.parametrize("draws", [3, 10])
def test_one_training_errs_more_and_more_images_do_not_help(rates, draws):
    """Why a verdict from one training of each network is one in these networks alone."""
    assert rates[0.5, 1, draws] > 2 * (rates[0.5, 5, draws] + 0.01)
    assert rates[1.0, 1, 10] > 0.05 + CHANCE


def test_trainings_of_one_network_are_no_further_networks():
    """Networks differ more than trainings of one do: three are three cases, however often one was trained."""
    generator = np.random.default_rng(0)
    often = {"a": 5, "b": 1, "c": 1}
    names = [f"{name}_seed_{seed}" for name, seeds in often.items() for seed in range(seeds)]
    of_network = np.repeat(generator.normal(0, 1, (REPEATED, len(often))), list(often.values()), axis=1)
    values = MARGIN + of_network + generator.normal(0, 0.1, (REPEATED, len(names)))
    values = values[:, :, None] + generator.normal(0, 0.1, (REPEATED, len(names), 5))
    errs = {"networks": 0, "trainings": 0}
    for one in values:
        group = dict(zip(names, one, strict=True))
        for what, cases in (("networks", evidence.by_network(group)), ("trainings", group)):
            errs[what] += evidence.verdict(evidence.estimate(cases), MARGIN) != "undecided"
    print(f"\n3 networks, one trained five times: {errs} of {REPEATED} decided at the margin, where 5 % may be")
    assert errs["networks"] <= (0.05 + CHANCE) * REPEATED
    assert errs["trainings"] > 2 * errs["networks"]


def families(generator, number, false, repeated, signs):
    """Verdicts of families of claims, some of which are at the margin itself: no verdict is right of these.

    All claims share a part of their draws, as those on the same images do, some with the opposite sign.
    """
    effects = np.where(np.arange(number) < false, MARGIN, 4 * MARGIN)
    shared = generator.normal(0, DRAWS, (repeated, 1, 1, 10))
    values = simulated(generator, 0, 5, 10, repeated * number).reshape(repeated, number, 5, 10)
    values = values + shared * signs[:, None, None] + effects[:, None, None]
    for family in values:
        estimates = [evidence.estimate(dict(enumerate(claim))) for claim in family]
        rate = evidence.corrected_rate([evidence.p_value(one, MARGIN) for one in estimates])
        yield tuple(
            np.array([evidence.verdict(one, MARGIN, rate=at) != "undecided" for one in estimates])
            for at in (evidence.RATE, rate)
        )


@pytest.mark.parametrize("opposite", [False, True])
@pytest.mark.parametrize("false", [37, 25])
def test_of_what_is_decided_in_a_family_few_is_wrong(false, opposite):
    repeated, signs = 100, (-1.0) ** (np.arange(37) * opposite)
    # The share of wrong ones among those that decide, alone and corrected; where none decides, none is wrong.
    shares = np.array(
        [
            [decided[:false].sum() / max(1, decided.sum()) for decided in family]
            for family in families(np.random.default_rng(false), 37, false, repeated, signs)
        ]
    )
    alone, corrected = shares.mean(axis=0)
    print(
        f"\n{false} of 37 claims at the margin: {alone:.1%} of the decided wrong alone, {corrected:.1%} corrected"
    )
    assert corrected <= 0.05 + 3 * shares[:, 1].std() / math.sqrt(repeated)
    assert corrected < alone
