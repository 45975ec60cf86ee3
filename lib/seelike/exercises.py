"""Exercises that check themselves: `check` says what is off with an answer, and not only that it is.

An answer is a number, a word, or a function. A function is called on random input and held against the formula;
so no answer depends on the run. Where an answer is what a usual slip gives, the slip is named.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator

from seelike.errors import unknown_name

Matrix = np.ndarray
_ROUNDS = 3
# Of functions, whose arithmetic may be in float32, and of numbers that are typed with two or three digits.
_SAME = 1e-4
_TYPED = 0.01


@dataclass(frozen=True)
class _Exercise:
    """What is right, and what is said of usual slips; `inputs` draws the arguments of a function."""

    right: Any
    slips: Mapping[str, Any] = field(default_factory=dict)
    inputs: Callable[[Generator], tuple[Any, ...]] | None = None
    asks: str = "a number"
    within: float = _TYPED


def check(name: str, answer: Any) -> None:
    """Print whether an answer is right, and if it is not, what is off.

    Args:
        name: Of the exercise, such as "03.1".
        answer: A number, a word or a function, as the exercise asks; None, as long as there is no answer, prints
            nothing.

    Raises:
        UnknownName: There is no such exercise.

    Example:
        >>> check("03.2", 3)
        03.2: not yet. With three images the factor n - 3 is zero, and HSIC has no value.
        >>> check("03.2", 4)
        03.2: right.
        >>> check("03.2", None)
    """
    if name not in EXERCISES:
        raise unknown_name("exercise", name, EXERCISES)
    if answer is not None:
        exercise = EXERCISES[name]
        off = _of_function(exercise, answer) if exercise.inputs else _of_value(exercise, answer)
        print(f"{name}: right." if off is None else f"{name}: not yet. {off}")


def _of_value(exercise: _Exercise, answer: Any) -> str | None:
    if callable(answer):
        return f"Got a function; expected {exercise.asks}."
    if _alike(answer, exercise.right, exercise.within):
        return None
    for what, value in exercise.slips.items():
        if _alike(answer, value, exercise.within):
            return what
    return f"Got {answer!r}; expected {exercise.asks}. See the answers below for the way."


def _of_function(exercise: _Exercise, answer: Any) -> str | None:
    assert exercise.inputs
    if not callable(answer):
        return f"Got {answer!r}; expected {exercise.asks}."
    draws = [exercise.inputs(np.random.default_rng(seed)) for seed in range(_ROUNDS)]
    try:
        given = [np.asarray(answer(*draw), float) for draw in draws]
    except Exception as error:
        return f"It raised {type(error).__name__}: {error}. It is called with {exercise.asks.partition('of ')[2]}."
    expected = [np.asarray(exercise.right(*draw), float) for draw in draws]
    if given[0].shape != expected[0].shape:
        return f"Its result has the shape {given[0].shape}; expected {expected[0].shape}."
    if all(map(_close, given, expected)):
        return None
    for what, slip in exercise.slips.items():
        if all(_close(one, np.asarray(slip(*draw), float)) for one, draw in zip(given, draws, strict=True)):
            return what
    of_first = zip(*(np.ravel(each[0]) for each in (given, expected)), strict=True)
    one, other = next((one, other) for one, other in of_first if not _close(one, other))
    return f"On random input it gives {one:.4f} where {other:.4f} is right."


def _close(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, rtol=_SAME, atol=1e-6))


def _alike(one: Any, other: Any, within: float) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(str(one).strip().lower() == str(other).lower())
    try:
        given, expected = np.asarray(one, float), np.asarray(other, float)
    except (TypeError, ValueError):
        return False
    return given.shape == expected.shape and bool(np.allclose(given, expected, rtol=within, atol=1e-9))


# Section 3


def _centred_gram(x: Matrix) -> Matrix:
    x = x - x.mean(axis=0)
    return x @ x.T


def _cosine(k: Matrix, m: Matrix) -> float:
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def _two_layers(random: Generator) -> tuple[Matrix, Matrix]:
    x = random.normal(size=(12, 5)) + 1
    return x, x[:, :3] + random.normal(size=(12, 3))


# Section 4


def _square(random: Generator) -> tuple[Matrix]:
    values = random.random((9, 9))
    values = (values + values.T) / 2
    np.fill_diagonal(values, 1)
    return (values,)


def _off_diagonal(values: Matrix) -> float:
    return float(values[~np.eye(len(values), dtype=bool)].mean())


# Section 5


def _offsets(height: int, width: int) -> tuple[Matrix, Matrix]:
    rows, columns = np.divmod(np.arange(height * width), width)
    return rows[:, None] - rows, columns[:, None] - columns


def _attention(random: Generator) -> tuple[Matrix, int, int, float]:
    weights = random.random((12, 12)) ** 4
    return weights / weights.sum(axis=1, keepdims=True), 3, 4, 8.0


def _distance(attention: Matrix, height: int, width: int, patch: float) -> float:
    return float(patch * (attention * np.hypot(*_offsets(height, width))).sum(axis=1).mean())


def _blocks_apart(attention: Matrix, height: int, width: int, patch: float) -> float:
    down, across = _offsets(height, width)
    return float(patch * (attention * (abs(down) + abs(across))).sum(axis=1).mean())


# Section 6


def _skip_and_branch(random: Generator) -> tuple[Matrix, Matrix]:
    return random.normal(size=(10, 6)) * random.random((10, 1)), random.normal(size=(10, 6))


def _lengths(x: Matrix) -> Matrix:
    return np.linalg.norm(x, axis=1)


# Section 7


def _one_map(random: Generator) -> tuple[Matrix, int, int]:
    return random.random((5, 6)), 2, 3


def _near(values: Matrix, row: int, column: int) -> Matrix:
    near = np.zeros(values.shape, dtype=bool)
    near[row - 1 : row + 2, column - 1 : column + 2] = True
    return near


def _contrast(values: Matrix, row: int, column: int) -> float:
    near = _near(values, row, column)
    return float(values[near].mean() - values[~near].mean())


def _own_minus_others(values: Matrix, row: int, column: int) -> float:
    own = np.zeros(values.shape, dtype=bool)
    own[row, column] = True
    return float(values[own].mean() - values[~own].mean())


# Appendices


def _map_between(random: Generator) -> tuple[Matrix]:
    return (random.random((7, 5)),)


def _two_places(random: Generator) -> tuple[int, int, int]:
    token = int(random.integers(0, 15))
    return token, token + 13, 6


def _cells_apart(token: int, patch: int, width: int) -> tuple[int, int]:
    return abs(token // width - patch // width), abs(token % width - patch % width)


def _to_fit(random: Generator) -> tuple[Matrix, Matrix, float]:
    x = random.normal(size=(15, 4)) + 1
    return x, x @ random.normal(size=4) + random.normal(size=15) + 2, 3.0


def _ridge(x: Matrix, y: Matrix, strength: float) -> Matrix:
    return np.asarray(np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y))


def _by_block(random: Generator) -> tuple[Matrix]:
    return (random.random(8),)


def _third(values: Matrix) -> int:
    return math.ceil(len(values) / 3)


def _map_and_cut(random: Generator) -> tuple[Matrix, int]:
    return _square(random)[0], 4


def _parts(values: Matrix, cut: int) -> tuple[Matrix, Matrix]:
    first = np.arange(len(values)) < cut
    same = first[:, None] == first
    return same & ~np.eye(len(values), dtype=bool), ~same


def _step(values: Matrix, cut: int) -> float:
    within, between = _parts(values, cut)
    return float(values[within].mean() - values[between].mean())


def _step_with_diagonal(values: Matrix, cut: int) -> float:
    _, between = _parts(values, cut)
    return float(values[~between].mean() - values[between].mean())


# The number of the page, a point, and the number of the exercise there.
EXERCISES: dict[str, _Exercise] = {
    "03.1": _Exercise(
        lambda x, y: _cosine(_centred_gram(x), _centred_gram(y)),
        {
            "The features are not centred: subtract their mean over the images first.": lambda x, y: _cosine(
                x @ x.T, y @ y.T
            ),
            "The root is missing in the denominator.": lambda x, y: (
                (_centred_gram(x) * _centred_gram(y)).sum()
                / ((_centred_gram(x) ** 2).sum() * (_centred_gram(y) ** 2).sum())
            ),
        },
        _two_layers,
        "a function of two arrays of features, [images, features] each",
    ),
    "03.2": _Exercise(
        4,
        {
            "With three images the factor n - 3 is zero, and HSIC has no value.": 3,
            "With two images the factor n - 2 is zero already.": 2,
            "It can do with fewer.": 5,
        },
        asks="a whole number",
    ),
    "04.1": _Exercise(
        _off_diagonal,
        {
            "The diagonal is in it: each layer is compared with itself, which is 1 in every network.": np.mean,
            "These are only pairs of neighbours; all pairs of different layers are asked for.": lambda m: np.mean(
                np.diag(m, 1)
            ),
        },
        _square,
        "a function of a map of CKA, [layers, layers]",
    ),
    "04.2": _Exercise(
        lambda m: m[: len(m) // 3, -(len(m) // 3) :].mean(),
        {
            "That is the first third with itself.": lambda m: m[: len(m) // 3, : len(m) // 3].mean(),
            "That is the first third with all layers.": lambda m: m[: len(m) // 3].mean(),
        },
        _square,
        "a function of a map of CKA, [layers, layers]",
    ),
    "05.1": _Exercise(
        4.0,
        {
            "That is in patches; distances are in pixels.": 1.0,
            "You let patches without a right neighbour count as 0. They do not look to the right at all.": 24 / 7,
        },
    ),
    "05.2": _Exercise(
        _distance,
        {
            "That is in patches: multiply by the side of a patch.": lambda a, h, w, p: _distance(a, h, w, 1.0),
            "That adds steps down and across. Distances are as the crow flies.": _blocks_apart,
            "Each query's attention sums to one; divide by the number of queries.": lambda a, h, w, p: (
                len(a) * _distance(a, h, w, p)
            ),
            "That is the mean over all pairs: weight each distance by the attention.": lambda a, h, w, p: (
                p * np.hypot(*_offsets(h, w)).mean()
            ),
        },
        _attention,
        "a function of an attention matrix [queries, keys], rows, columns, and the side of a patch in pixels",
    ),
    "06.1": _Exercise(
        lambda skip, branch: (_lengths(skip) / _lengths(branch)).mean(),
        {
            "It is upside down: the skip connection stands above.": lambda skip, branch: (
                _lengths(branch) / _lengths(skip)
            ).mean(),
            "That is the ratio of the means; asked is the mean of the ratios.": lambda skip, branch: (
                _lengths(skip).mean() / _lengths(branch).mean()
            ),
            "That is one length of all images together; take it image by image.": lambda skip, branch: (
                np.linalg.norm(skip) / np.linalg.norm(branch)
            ),
        },
        _skip_and_branch,
        "a function of what the skip connection and what the branch give, [images, channels] each",
    ),
    "06.2": _Exercise(
        math.sqrt(12),
        {
            "Lengths at right angles do not add up: their squares do.": 12.0,
            "The token is not one of the branches: it has length 1 before the first is added.": math.sqrt(11),
            "That is after the twelfth addition; the ratio is of what it gets.": math.sqrt(13),
        },
    ),
    "07.1": _Exercise(
        9 / 49,
        {
            "That is the own patch alone; its neighbours count, too.": 1 / 49,
            "That leaves out the own patch.": 8 / 49,
            "That is within two cells.": 25 / 49,
        },
        asks="a share, between 0 and 1",
    ),
    "07.2": _Exercise(
        _contrast,
        {
            "That compares the own patch with all others; its eight neighbours belong to it.": _own_minus_others,
            "That is near minus the mean of all: leave the near ones out of the second mean.": lambda m, r, c: (
                m[_near(m, r, c)].mean() - m.mean()
            ),
            "It is the other way round: near minus far.": lambda m, r, c: -_contrast(m, r, c),
        },
        _one_map,
        "a function of a map [rows, columns], and of the row and the column of the token",
    ),
    "08.1": _Exercise(
        "undecided",
        {
            "Its lower end is 0.02, which is within the margin of 0.05.": "holds",
            "Its upper end is 0.06, which is beyond the margin of 0.05.": "negligible",
            "All of it is above zero.": "reversed",
        },
        asks="one of 'holds', 'negligible', 'reversed', 'undecided'",
    ),
    "08.2": _Exercise(
        lambda share, control: (share[0] - share[-1]) - (control[0] - control[-1]),
        {
            "That is the fall of the line alone, without that of its control.": lambda share, control: (
                share[0] - share[-1]
            ),
            "It is the other way round: the line's fall minus the control's.": lambda share, control: (
                (control[0] - control[-1]) - (share[0] - share[-1])
            ),
            "That compares the last blocks alone.": lambda share, control: control[-1] - share[-1],
        },
        lambda random: (random.uniform(size=8), random.uniform(size=8)),
        "a function of two arrays of CKA, [blocks] each",
    ),
    "09.1": _Exercise(2, {"That is the share of one in twenty.": 0.05}),
    "11.1": _Exercise(0.4, {"That is within a phase; subtract what is between the two.": 0.9}),
    "12.1": _Exercise(
        2 / math.sqrt(6),
        {
            "That is the share of the variance; CKA squares the variances.": 0.5,
            "That is the share of the squares; CKA is a cosine, and has a root.": 4 / 6,
        },
    ),
    "12.2": _Exercise(0, {"That is what it goes to when the image is moved in both layers.": 1}),
    "13.1": _Exercise(0),
    "13.2": _Exercise(1, {"Both see the same two clusters of images.": 0}),
    "A.1": _Exercise(
        math.sqrt(2),
        {
            "The variance falls by that; the scatter is its root.": 2,
            "It is smaller than before: how many times?": 1 / math.sqrt(2),
        },
    ),
    "A.2": _Exercise(
        0.76,
        {"That is what is true, and what the unbiased estimate gives on average.": 0.0},
        within=0.05,
    ),
    "B.1": _Exercise(
        lambda m: m.argmax(axis=1) / (m.shape[1] - 1),
        {
            "These are numbers of layers; divide by that of the last, so that it is at depth 1.": lambda m: (
                m.argmax(axis=1)
            ),
            "With this division the last layer is below depth 1: the first is number 0.": lambda m: (
                m.argmax(axis=1) / m.shape[1]
            ),
        },
        _map_between,
        "a function of a map of CKA [layers of one network, layers of the other]",
    ),
    "C.1": _Exercise(
        7,
        {
            "That is without the stride: the second convolution's steps are two pixels each.": 5,
            "Neighbouring fields of the first convolution overlap.": 9,
        },
        asks="a whole number of pixels",
    ),
    "C.2": _Exercise(
        28,
        {"That is a convolution of 3 x 3; attention reads all patches.": 3, "That is one patch.": 4},
        asks="a whole number of pixels",
    ),
    "D.1": _Exercise(
        lambda token, patch, width: max(_cells_apart(token, patch, width)),
        {
            "That adds rows and columns; here a neighbour at the corner is one cell away.": lambda t, p, w: sum(
                _cells_apart(t, p, w)
            ),
            "That is as the crow flies; here a neighbour at the corner is one cell away.": lambda t, p, w: (
                math.hypot(*_cells_apart(t, p, w))
            ),
            "That is the distance along the row of all tokens; they are in a grid.": lambda t, p, w: abs(t - p),
        },
        _two_places,
        "a function of the number of a token, that of a patch, both row by row from 0, and how many are in a row",
    ),
    "E.1": _Exercise(
        (1.0, math.sqrt(0.5)),
        {
            "The ratio is right. The cosine is between the skip connection and the *sum*.": (1.0, 0.0),
            "The ratio is right, and that is the angle.": (1.0, 45.0),
        },
        asks="two numbers, (ratio, cosine)",
    ),
    "E.2": _Exercise(
        1 / math.tan(math.acos(0.99)),
        {"That is the tangent: one over the ratio.": math.tan(math.acos(0.99))},
        within=0.02,
    ),
    "F.1": _Exercise(
        lambda x, y, strength: _ridge(x - x.mean(axis=0), y - y.mean(), strength),
        {
            "Features and targets are not centred, so the weights stand in for a missing constant.": _ridge,
            "That is without the strength.": lambda x, y, strength: _ridge(x - x.mean(axis=0), y - y.mean(), 0.0),
            "The strength is multiplied by the number of images; add it as it is.": lambda x, y, strength: _ridge(
                x - x.mean(axis=0), y - y.mean(), strength * len(x)
            ),
        },
        _to_fit,
        "a function of features [images, features], targets [images] and the strength",
    ),
    "G.1": _Exercise(
        lambda v: v[: _third(v)].mean() - v[-_third(v) :].mean(),
        {
            "That is the first block minus the last.": lambda v: v[0] - v[-1],
            "It is the other way round: first minus last.": lambda v: (
                v[-_third(v) :].mean() - v[: _third(v)].mean()
            ),
            "A third of the blocks is rounded up.": lambda v: v[: len(v) // 3].mean() - v[-(len(v) // 3) :].mean(),
        },
        _by_block,
        "a function of the CKA of each block, [blocks]",
    ),
    "H.1": _Exercise(
        _step,
        {
            "The diagonal is in it: no layer is a pair with itself.": _step_with_diagonal,
            "It is the other way round: within minus between.": lambda m, cut: -_step(m, cut),
        },
        _map_and_cut,
        "a function of a map of CKA [layers, layers], and how many layers are before the cut",
    ),
    "interventions.1": _Exercise(1, {"The network cannot tell the two apart: it sees a set of tokens.": 0}),
    "tiny.1": _Exercise(
        "vit_7x7_gap",
        {"That one differs in its width, too.": "vit_7x7_small_gap", "That is the network itself.": "vit_7x7"},
        asks="the name of a network",
    ),
    "uncertainty.1": _Exercise(
        5,
        {
            "With few trainings the factor of Student's t distribution falls, too.": 12,
            "That is how many more it takes.": 2,
        },
        asks="a whole number",
    ),
}
