"""Whether numbers bear a claim out: estimates over images and trainings, verdicts, and their correction.

A claim has a statistic theta and a margin m > 0, the smallest effect of interest. theta was measured on draws
of images d = 1 ... D, by one training of each network or by several, s = 1 ... S, that differ in their seed.

**The estimate.** With one training it is the mean of the D values, and its variance is that of such a mean, var
/ D, with D - 1 degrees of freedom. With several, x_sd has a part of its training, a part of its draw, which all
trainings share, and a rest. Its mean over both has the variance

    v = var_s( mean_d x_sd ) / S  +  var_d( mean_s x_sd ) / D,

with S - 1 and D - 1 degrees of freedom; the rest is counted in both terms, so that v is too large rather than
too small. Where two groups of networks are compared, each has a first term of its own, and the second is of
their difference, for they saw the same draws. A sum of terms v_i with n_i degrees of freedom has about

    n = v^2 / sum_i v_i^2 / n_i

of them (Satterthwaite 1946, Welch 1947), and the interval is Student's, mean +- t_n sqrt(v). We take no more of
them than the trainings alone could give, the sum of S - 1 over the groups that have several. For where few
trainings differ more than many draws do, the formula takes a small spread that few trainings have by chance for
a well-known one: in simulations of 3 trainings and 10 draws a 95 % interval would miss in 7 % of cases, and one
of 99.9 % in 1 %.

With one training of each network the spread of trainings is not known, and not in the interval. A verdict then
is one about *these networks*, and says so.

**Draws that share images.** Up to eight draws have no image in common where there are enough images
(`seelike.data.draws`); draws of probes are random. Let two draws share a part rho of their images, on average over
all pairs. A statistic that is a mean over images (CKA is nearly one) then has the correlation rho between draws.
The variance among the draws is that of one draw times 1 - rho, and the variance of their mean is that of one draw
times (1 + (D - 1) rho) / D. So var / D is multiplied by

    (1 + (D - 1) rho) / (1 - rho)

(Nadeau and Bengio 2003 have the same factor for random splits of one set, with rho the share of the test images.
For probes, training images vary, too, and rho is the largest of the shares of the test images and of the training
images of each class: too large rather than too small). Such draws also vary in fewer ways than there are draws: of
four that each take half of the images, the first two are all of them, and so are the others. So their degrees of
freedom are taken to be (D - 1) (1 - rho)^2, and one at least: in simulations a 95 % interval then misses in 5.3 %
of cases at most, and far fewer where rho is large. The interval is about images like these, and not about these
N alone. (Of a set that was fetched in pieces, it is about images like those of the pieces.) Where each draw
takes all images, their spread says nothing, and there is no interval.

**Networks.** Where a group has several networks, such as ViTs of three sizes, the question is how far networks
differ, and trainings of one of them that differ in their seed are no further networks. So each network's trainings
are averaged, and the networks take the place of the trainings above. Before training, all seeds are one network.

**The verdict.** A claim of a difference holds where the interval lies beyond +m. It is reversed beyond -m, and
negligible between the two. Where the interval is below +m and none of these, the effect that the claim is about
is excluded, and the claim does not hold. Else +m is in the interval, and the claim is undecided. A claim of no
effect holds between -m and +m, and one of "no less" above -m. A claim that a number is above a threshold has that
threshold for its margin: below it does not hold, and there is no effect to neglect. A claim of several differences
at once, such as one at every depth, has the least of them for its statistic: below +m it does not hold, and of the
others nothing is said. The least of several numbers that are not sure is too low, by about a standard deviation of
one draw: that such a claim holds is safe, and that it does not is to be read beside its number.

**The correction.** Of 37 tests at 5 % about two err by chance. All claims tested at one profile are therefore
corrected together by Benjamini and Hochberg (1995): with the p-values of the N tests against the margin,
two-sided and in order, R is the largest k with p_(k) <= k q / N, for q = 0.05. The verdicts are then read from
intervals of 1 - R q / N in the place of 1 - q (Benjamini and Yekutieli 2005), so that at most 5 % of what is
said to be decided is expected to be said wrongly. R counts what is still decided after the second measure, below.
We want few false ones among those, not none at all among 37: that would take a correction such as Bonferroni's,
and leave most undecided. The theorem is for tests that are independent or depend on each other positively. Ours
are on the same images, some with the opposite sign; in simulations of such families the share of false ones stays
below 5 %, too.

**What was learned.** The same statistic on the same networks with random weights is a control. A claim that
holds there too owes nothing to training. It is judged by its own 95 % interval, without the correction. Where
it is undecided, a claim that holds is perhaps not learned; where it was not measured, it is without control.

**What does not depend on the measure.** Where a claim is on CKA, its statistic is computed once more from
another measure of likeness, the nearest neighbours that layers share (`seelike.neighbours`). Both are 1 for
equal layers and 0 for unrelated ones, but an effect need not be as large by the one as by the other, so that of
the other measure the direction is asked alone: where a claim holds, its 95 % interval has to lie above zero, and
where it is reversed, below. Where CKA says that there is no such effect, the interval of the other measure has to
say so, too: within the margins for a negligible effect, below +m for a claim that does not hold. Where it is not
sure, the claim is undecided. Where it excludes the effect that CKA has, or has one that CKA excludes, the verdict
is that it depends on the measure. The second measure can take a decision back, and never makes one.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit

Verdict = Literal[
    "holds", "negligible", "reversed", "does not hold", "depends on the measure", "undecided", "not testable"
]
Kind = Literal["difference", "none", "no_less", "threshold", "everywhere"]

# The statistic by training, `[draws]` each; and of one training of each network alone.
Trainings = Mapping[Any, Sequence[float] | np.ndarray]
Values = Sequence[float] | np.ndarray | Trainings

# A sign beside the word, so that neither colour nor reading is needed to tell them apart.
SIGNS: dict[Verdict, str] = {
    "holds": "✓",
    "negligible": "≈",
    "reversed": "⇄",
    "does not hold": "✗",
    "depends on the measure": "≠",
    "undecided": "?",
    "not testable": "○",
}
# What tells trainings of one network apart: the seed in their names, or a name that is a seed and nothing else.
_SEED = re.compile(r"_seed_\d+|, seed \d+|^\d+$")
# How many of the statements made may be wrong: of each interval alone, and of all verdicts of a family.
RATE = 0.05


@dataclass(frozen=True)
class Estimate:
    """A mean, with how sure it is.

    Attributes:
        mean: The mean, in units of the statistic.
        error: Its standard error, in the same; NaN where there is one draw, or all have the same images.
        degrees: The degrees of freedom of that error; they need not be whole.

    Example:
        >>> round(Estimate(mean=0.31, error=0.01, degrees=2.0).half_width(), 3)
        0.043
    """

    mean: float
    error: float
    degrees: float

    def half_width(self, rate: float = RATE) -> float:
        """Compute half the width of Student's interval that misses at this rate; NaN where the error is."""
        return float(stdtrit(self.degrees, 1 - rate / 2)) * self.error


def estimate(values: Values, than: Trainings | None = None, *, overlap: float = 0.0) -> Estimate:
    """Average a statistic over draws of images, and over trainings where there are several.

    Args:
        values: The statistic of one training of each network, `[draws]`; or that of each training, by its seed or
            any other name.
        than: The same of another group of networks, by training, measured on the same draws. Its mean is
            subtracted.
        overlap: The share of its images that a draw has in common with another, on average.

    Returns:
        The estimate. It covers the spread of trainings in each group that has several. Its error is NaN where
        there is one draw, or all have the same images.

    Raises:
        ValueError: There is no number, or not one for each training and draw; or the overlap is no share.

    Example:
        >>> one = estimate([0.30, 0.32, 0.31])
        >>> round(one.mean, 3), round(one.error, 4), one.degrees
        (0.31, 0.0058, 2.0)
        >>> three = estimate({0: [0.30, 0.32, 0.31], 1: [0.36, 0.38, 0.37], 2: [0.33, 0.35, 0.34]})
        >>> round(three.mean, 3), round(three.error, 4), round(three.degrees, 2)
        (0.34, 0.0183, 2.0)
        >>> round(estimate([0.30, 0.32, 0.31], overlap=0.5).error, 4)
        0.0115
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is a share of the images of a draw, from 0 to 1; got {overlap}.")
    means = by_draw(values, than)
    if len(means) == 1 or overlap == 1:
        return Estimate(float(means.mean()), math.nan, math.nan)
    groups = [_table(group) for group in (values, than) if group is not None]
    # Each group's trainings have a term of their own. One training tells nothing about it.
    of_trainings = [_term(group.mean(axis=1)) for group in groups if len(group) > 1]
    of_draws, degrees_of_draws = _term(means)
    of_draws *= (1 + (len(means) - 1) * overlap) / (1 - overlap)
    terms = [*of_trainings, (of_draws, max(1, degrees_of_draws * (1 - overlap) ** 2))]
    variance, parts = sum(term for term, _ in terms), sum(term**2 / n for term, n in terms)
    # Where nothing varies, no term outweighs another.
    degrees = variance**2 / parts if parts > 0 else min(n for _, n in terms)
    at_most = sum(n for _, n in of_trainings) or math.inf
    return Estimate(float(means.mean()), math.sqrt(variance), float(min(degrees, at_most)))


def by_network(group: Trainings) -> dict[str, Float[np.ndarray, " draws"]]:
    """Average the trainings of each network: those whose names differ in their seed alone.

    Args:
        group: The statistic by training, `[draws]` each.

    Example:
        >>> by_network({"vit": [0.1, 0.2], "vit_seed_1": [0.3, 0.4], "resnet": [0.5, 0.5]})
        {'vit': array([0.2, 0.3]), 'resnet': array([0.5, 0.5])}
    """
    networks: dict[str, list[Any]] = {}
    for name, values in group.items():
        networks.setdefault(_SEED.sub("", str(name)), []).append(values)
    return {name: _table(dict(enumerate(rows))).mean(axis=0) for name, rows in networks.items()}


def trained_most(names: Iterable[str]) -> list[str]:
    """Keep the trainings of the network that was trained most often; all where each was trained once.

    Args:
        names: Of trainings. Those of one network differ in the seed of their names alone.

    Example:
        >>> trained_most(["vit_large", "vit", "vit_seed_1"]), trained_most(["vit_large", "vit"])
        (['vit', 'vit_seed_1'], ['vit_large', 'vit'])
    """
    networks: dict[str, list[str]] = {}
    for name in names:
        networks.setdefault(_SEED.sub("", name), []).append(name)
    most = max(networks.values(), key=len, default=[])
    return most if len(most) > 1 else [name for group in networks.values() for name in group]


def by_draw(values: Values, than: Trainings | None = None) -> Float[np.ndarray, " draws"]:
    """Average over trainings alone, and subtract the second group where there is one.

    Args:
        values: As for `estimate`.
        than: As for `estimate`.

    Raises:
        ValueError: There is no number, or not one for each training and draw.

    Example:
        >>> by_draw({0: [0.30, 0.32], 1: [0.40, 0.42]}, {0: [0.1, 0.1]}).round(6)
        array([0.25, 0.27])
    """
    means = [_table(group).mean(axis=0) for group in (values, than) if group is not None]
    if len({len(one) for one in means}) > 1:
        raise ValueError(f"Both groups need the same draws; got {' and '.join(str(len(one)) for one in means)}.")
    return means[0] - means[1] if len(means) > 1 else means[0]


def _table(values: Values) -> Float[np.ndarray, "trainings draws"]:
    rows = list(values.values()) if isinstance(values, Mapping) else [values]
    lengths = {np.shape(row) for row in rows}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1 or 0 in next(iter(lengths)):
        shapes = ", ".join(map(str, sorted(lengths, key=str))) or "none"
        raise ValueError(f"Expected one number for each draw, as many of each training; got shapes {shapes}.")
    return np.asarray(rows, dtype=np.float64)


def _term(means: Float[np.ndarray, " n"]) -> tuple[float, int]:
    """The variance of the mean of some means, with its degrees of freedom."""
    return float(means.var(ddof=1)) / len(means), len(means) - 1


def verdict(found: Estimate, margin: float, kind: Kind = "difference", rate: float = RATE) -> Verdict:
    """Judge a claim by the interval of its statistic.

    Args:
        found: The estimate.
        margin: The smallest effect of interest, in units of the statistic.
        kind: What is claimed: that the statistic is beyond the margin ("difference"), within it on both sides
            ("none"), or not below minus the margin ("no_less"); that it is above the margin, which is a threshold
            ("threshold"); or that the least of several differences is beyond it ("everywhere").
        rate: How often the interval may miss.

    Example:
        >>> sure, unsure = Estimate(0.31, 0.01, 2.0), Estimate(0.31, 0.1, 2.0)
        >>> verdict(sure, 0.05), verdict(unsure, 0.05), verdict(sure, 0.4), verdict(sure, 0.4, "none")
        ('holds', 'undecided', 'negligible', 'holds')
    """
    width = found.half_width(rate)
    low, high = found.mean - width, found.mean + width
    if kind == "none":
        beyond = low > margin or high < -margin
        return "holds" if -margin < low and high < margin else "does not hold" if beyond else "undecided"
    if kind == "no_less":
        return "holds" if low > -margin else "does not hold" if high < -margin else "undecided"
    if low > margin:
        return "holds"
    # Written so that an interval that is not known has no verdict.
    if not high < margin:
        return "undecided"
    if kind in ("threshold", "everywhere"):
        return "does not hold"
    if high < -margin:
        return "reversed"
    return "negligible" if low > -margin else "does not hold"


def confirmed(decided: Verdict, other: Estimate, margin: float) -> Verdict:
    """Hold the verdict on a difference against another measure.

    Args:
        decided: The verdict by the first measure.
        other: The same statistic by the other measure.
        margin: The smallest effect of interest.

    Returns:
        What is left of the verdict: the same, where the other measure has the effect in the same direction, or
        excludes it as the first one does, or its interval is not known; "undecided", where it is not sure; or
        "depends on the measure", where it excludes what the first one has, or has what the first one excludes.

    Example:
        >>> small, unsure, none = Estimate(0.04, 0.005, 2.0), Estimate(0.04, 0.02, 2.0), Estimate(0.0, 0.01, 2.0)
        >>> [confirmed("holds", other, margin=0.05) for other in (small, unsure, none)]
        ['holds', 'undecided', 'depends on the measure']
        >>> [confirmed("negligible", other, margin=0.05) for other in (none, unsure, Estimate(0.1, 0.005, 2.0))]
        ['negligible', 'undecided', 'depends on the measure']
    """
    low, high = other.mean - other.half_width(), other.mean + other.half_width()
    if math.isnan(low) or decided not in ("holds", "reversed", "negligible", "does not hold"):
        return decided
    if decided == "negligible" and high < -margin:
        return "depends on the measure"
    if decided in ("negligible", "does not hold"):
        excluded = high < margin and (decided == "does not hold" or low > -margin)
        return decided if excluded else "depends on the measure" if low > margin else "undecided"
    if decided == "reversed":
        low, high = -high, -low
    if low > 0:
        return decided
    return "depends on the measure" if high < margin else "undecided"


def p_value(found: Estimate, margin: float, kind: Kind = "difference") -> float:
    """Test the statistic against the margin that its verdict hangs on, two-sided.

    Args:
        found: The estimate; it has an error.
        margin: The smallest effect of interest, in units of the statistic.
        kind: What is claimed, as for `verdict`.

    Returns:
        The smallest rate at which `verdict` decides.

    Example:
        >>> found = Estimate(mean=0.31, error=0.05, degrees=2.0)
        >>> p = p_value(found, 0.05)
        >>> round(p, 3), verdict(found, 0.05, rate=1.01 * p), verdict(found, 0.05, rate=0.99 * p)
        (0.035, 'holds', 'undecided')
    """
    other = {"none": abs(found.mean) - margin, "no_less": found.mean + margin}
    distance = other.get(kind, found.mean - margin)
    if found.error == 0:
        return float(distance == 0)
    return float(2 * stdtr(found.degrees, -abs(distance) / found.error))


def corrected_rate(p_values: Sequence[float], rate: float = RATE) -> float:
    """Tell at which rate each of several tests may err, so that few of those that decide do.

    Args:
        p_values: Those of all tests.
        rate: The share of wrong ones among those that decide.

    Returns:
        R rate / N, for R of N tests that decide; 0 where none does.

    Example:
        >>> round(corrected_rate([0.001, 0.02, 0.03, 0.9]), 4)
        0.0375
    """
    number = len(p_values)
    levels = [place * rate / number for place in range(1, number + 1)]
    return max([level for p, level in zip(sorted(p_values), levels, strict=True) if p <= level], default=0.0)
