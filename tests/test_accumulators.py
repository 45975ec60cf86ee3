"""What every accumulator promises: parts merge to the whole, states go on, what does not fit changes nothing."""

import itertools
import random
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from seelike.attention import AttentionDistance
from seelike.cka import (
    CentredGrams,
    MinibatchCKA,
    MinibatchCKAAndNeighbours,
    PairedCKA,
    PairedCKAAndNeighbours,
    gram,
)
from seelike.cka.estimators import WithNeighbours
from seelike.localization import TokenPatchCKA
from seelike.probes.ridge import RidgeSums
from seelike.receptive_field import ReceptiveField
from seelike.skip import SkipRatio
from seelike.streaming import Accumulator, Moments

randn = torch.randn


@dataclass(frozen=True)
class Case:
    """An accumulator, random updates of it, and what it has to refuse."""

    make: Callable[[], Any]
    draw: Callable[[], tuple[Any, ...]]  # the arguments of an update
    results: Callable[[Any], Sequence[Tensor]]
    other_settings: Sequence[Accumulator] = ()
    misfits: Sequence[Callable[[], tuple[Any, ...]]] = ()  # fine alone, but not together with the others
    wrong: Sequence[Callable[[], tuple[Any, ...]]] = ()  # refused in any case
    update: str = "update"
    by_image: bool = True  # whether it does not matter which images are in one update

    def measured(self, *draws: tuple[Any, ...]) -> Any:
        accumulator = self.make()
        for arguments in draws:
            self.add(accumulator, arguments)
        return accumulator

    def add(self, accumulator: Any, arguments: tuple[Any, ...]) -> None:
        getattr(accumulator, self.update)(*arguments)


def nans(*shape: int) -> Tensor:
    return torch.full(shape, torch.nan)


def some(most: int = 4) -> int:
    return random.randint(1, most)


def grams(*names: str, n: int = 6) -> CentredGrams:
    found = CentredGrams(names, n, neighbours=True)
    for name in names:
        found[name] = gram(randn(n, 3))
    return found


def maps(heads: int = 2) -> tuple[Tensor]:
    return (randn(some(), heads, 7, 7).softmax(dim=-1),)


def tensors(result: Any) -> list[Tensor]:
    return [value for value in vars(result).values() if isinstance(value, Tensor)]


def skip_and_branch(tokens: int = 5) -> tuple[Tensor, Tensor]:
    skip, branch = randn(2, some(), tokens, 3)
    branch[0, some(tokens) - 1] = 0  # has no ratio and no angle
    return skip, branch


def of_skip(ratios: SkipRatio) -> list[Tensor]:
    result = ratios.compute()
    return [*tensors(result.tokens), *tensors(result.spatial), *result.left_out.values()]


def gradients(channels: int, pixels: tuple[int, int] = (5, 4)) -> tuple[Tensor, int]:
    return randn(some(), channels, 3, *pixels), random.randrange(8)


def of_field(field: ReceptiveField) -> list[Tensor]:
    return [field.compute(), field.standard_error, torch.tensor(field.groups)]


NAMED = ("network", "c")  # as in comparisons of networks


def layers(*names: Hashable, n: int = 6) -> dict[Hashable, Tensor]:
    return {name: randn(n, 3) for name in names}


def labelled(d: int, problems: int = 2) -> tuple[Tensor, Tensor]:
    n = 3 + some(6)
    return 100 + randn(n, problems, d), torch.arange(n) % 3


def of_ridge(sums: RidgeSums) -> list[Tensor]:
    path = sums.path()
    fit = path.at(torch.full(path.mean.shape[:-1], 2.0, dtype=torch.float64))
    return [fit.weights, fit.intercept]


def attention(**more: Any) -> Case:
    arguments = {"grid": (2, 3), "patch_size": 16, "num_prefix_tokens": 1, "renormalize": True}
    others = {"grid": (3, 2), "patch_size": 8, "num_prefix_tokens": 2, "renormalize": False}
    other_settings = [AttentionDistance(**arguments | {name: value}) for name, value in others.items()]
    return Case(
        lambda: AttentionDistance(**arguments), results=lambda heads: tensors(heads.compute()),
        other_settings=other_settings, **more,
    )  # fmt: skip


def ridge(d: int) -> Case:
    return Case(
        lambda: RidgeSums(3), lambda: labelled(d), of_ridge, [RidgeSums(4)],
        misfits=[lambda: labelled(d + 1), lambda: labelled(d, problems=3)],
        wrong=[lambda: (nans(3, 2, d), torch.arange(3)), lambda: (randn(3, 2, d), torch.arange(1, 4))],
    )  # fmt: skip


CASES = {
    "moments": Case(
        Moments, lambda: (randn(some(), 2, 3),), lambda moments: [moments.mean, moments.standard_error],
        misfits=[lambda: (randn(2, 3),)],
    ),
    "attention by maps": attention(
        draw=maps, misfits=[lambda: maps(heads=3)],
        wrong=[lambda: (randn(2, 2, 7, 7),), lambda: (randn(2, 2, 6, 6),)],
    ),
    "attention by queries and keys": attention(
        draw=lambda: (*randn(2, some(), 2, 7, 4), 0.5), update="update_qk",
        misfits=[lambda: (*randn(2, 1, 3, 7, 4), 0.5)], wrong=[lambda: (*nans(2, 1, 2, 7, 4), 0.5)],
    ),
    "receptive field": Case(
        lambda: ReceptiveField(6), lambda: gradients(6), of_field, [ReceptiveField(7)],
        misfits=[lambda: gradients(5), lambda: gradients(6, (4, 5))], wrong=[lambda: gradients(7)],
    ),
    "receptive field of some channels": Case(
        lambda: ReceptiveField(6), lambda: gradients(3), of_field, [ReceptiveField(3)],
        misfits=[lambda: gradients(6), lambda: gradients(3, (5, 5))], by_image=False,
    ),
    "skip ratio": Case(
        lambda: SkipRatio(1), skip_and_branch, of_skip, [SkipRatio(2)], misfits=[lambda: skip_and_branch(4)],
        wrong=[lambda: tuple(nans(2, 2, 5, 3)), lambda: tuple(randn(2, 2, 1, 3))],
    ),
    "tokens with patches": Case(
        lambda: TokenPatchCKA((2, 3)), lambda: (randn(6, 1, 4, 6), randn(6, 4, 3)),
        lambda similarity: [similarity.compute(), similarity.standard_error()], [TokenPatchCKA((3, 2))],
        misfits=[lambda: (randn(6, 1, 4, 6), randn(6, 5, 3))], by_image=False,
        wrong=[lambda: (randn(3, 1, 4, 6), randn(3, 4, 3)), lambda: (randn(6, 1, 4, 6), nans(6, 4, 3))],
    ),
    "layers": Case(
        MinibatchCKA, lambda: (layers("a", "b", NAMED),), lambda similarity: [similarity.compute()],
        misfits=[lambda: (layers("a", "b", "d"),), lambda: (layers("a", "b", NAMED), layers("a", "b", NAMED))],
        wrong=[lambda: (layers("a", "b", NAMED, n=3),), lambda: (layers("a", "b") | {NAMED: nans(6, 3)},)],
        by_image=False,
    ),
    "layers with others": Case(
        MinibatchCKA, lambda: tuple(map(layers, "ab", "cd")), lambda similarity: [similarity.compute()],
        misfits=[lambda: (layers("a"), layers("d")), lambda: (layers("a"),)], by_image=False,
    ),
    "pairs of layers": Case(
        PairedCKA, lambda: (layers("a", "b"), layers("c", "d")), lambda similarity: [similarity.compute()],
        misfits=[lambda: (layers("a"), layers("c"))], by_image=False,
        wrong=[lambda: (layers("a", "b"),), lambda: (layers("a", "b"), layers("c"))],
    ),
    "layers with neighbours": Case(
        MinibatchCKAAndNeighbours, lambda: (grams("a", "b", "c"),),
        lambda similarity: [similarity.compute(), similarity.compute_neighbours()], update="update_centred",
        misfits=[lambda: (grams("a", "b", "d"),)], by_image=False,
    ),
    "pairs with neighbours": Case(
        PairedCKAAndNeighbours, lambda: (grams("a", "b"), grams("c", "d")),
        lambda similarity: [similarity.compute(), similarity.compute_neighbours()], update="update_centred",
        misfits=[lambda: (grams("a", "b"), grams("c", "e"))], by_image=False,
    ),
    "ridge with few features": ridge(5),
    "ridge with many features": ridge(90),
}  # fmt: skip

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture(autouse=True)
def fresh_numbers():
    seed = torch.seed()
    random.seed(seed)
    print(f"seed {seed}")  # shown if the test fails


def exactly(value: Any) -> Any:
    """Turn a state into what can be compared, bit by bit."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: exactly(each) for name, each in value.items()}
    return [exactly(each) for each in value] if isinstance(value, list) else value


def state_of(accumulator: Accumulator) -> Any:
    return exactly(accumulator.state_dict())


def assert_close(case: Case, one: Any, other: Any) -> None:
    assert one.count == other.count
    for result, expected in zip(case.results(one), case.results(other), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def assert_refuses(accumulator: Accumulator, what: Callable[[], Any], error: type[Exception] = ValueError) -> None:
    before = state_of(accumulator)
    with pytest.raises(error):
        what()
    assert state_of(accumulator) == before


def of_other_kinds(case: Case) -> list[Any]:
    own = type(case.make())
    return [other.measured(other.draw()) for other in CASES.values() if type(other.make()) is not own]


def classes(of: type) -> set[type]:
    below = {of}.union(*map(classes, of.__subclasses__()))
    in_the_library = {each for each in below if each.__module__.startswith("seelike")}
    return {each for each in in_the_library if getattr(sys.modules[each.__module__], each.__name__, None) is each}


def test_every_accumulator_is_held_to_the_contract():
    assert {type(case.make()) for case in CASES.values()} == {
        # WithNeighbours is what two of them have in common, and none by itself.
        each
        for each in classes(Accumulator) - {WithNeighbours}
        if hasattr(each, "update")
    }


@each
def test_any_parts_merged_in_any_order_are_the_whole(case):
    for _ in range(5):
        draws = [case.draw() for _ in range(random.randint(2, 6))]
        parts = [case.make() for _ in range(3)]
        for arguments in draws:
            case.add(random.choice(parts), arguments)
        random.shuffle(parts)
        merged = case.make()
        for part in parts:
            merged.merge(part)
        assert_close(case, merged, case.measured(*draws))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.by_image])
def test_any_split_of_the_images_is_the_whole(name):
    case = CASES[name]
    for _ in range(5):
        draws = [case.draw() for _ in range(3)]
        whole = [torch.cat(x) if isinstance(x[0], Tensor) else x[0] for x in zip(*draws, strict=True)]
        whole = [x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in whole]
        parts, n = case.make(), len(whole[0])
        cuts = [0, *sorted(random.choices(range(n + 1), k=4)), n]
        for start, end in itertools.pairwise(cuts):
            part = [x[start:end] if isinstance(x, Tensor) else x for x in whole]
            if random.random() < 0.5:
                case.add(parts, part)
            else:
                parts.merge(case.measured(part))
        assert_close(case, parts, case.measured(whole))


@each
def test_without_images_nothing_changes(case):
    empty, measured = case.make(), case.measured(case.draw())
    before = state_of(measured)
    measured.merge(empty)
    if case.by_image:
        nothing = [each[:0] if isinstance(each, Tensor) else each for each in case.draw()]
        case.add(measured, nothing)
        case.add(empty, nothing)
    assert state_of(measured) == before
    assert state_of(empty) == state_of(case.make())
    empty.merge(measured)
    assert_close(case, empty, measured)


@each
def test_merging_leaves_the_other_as_it_was_for_good(case):
    other, empty, measured = case.measured(case.draw(), case.draw()), case.make(), case.measured(case.draw())
    before = state_of(other)
    for one in (empty, measured):
        one.merge(other)
        for _ in range(3):
            case.add(one, case.draw())
        assert state_of(other) == before
    merged = state_of(measured)
    case.add(other, case.draw())
    other.reset()
    assert state_of(measured) == merged


@each
def test_merged_with_itself_all_counts_twice(case):
    draws = [case.draw() for _ in range(3)]
    accumulator = case.measured(*draws)
    accumulator.merge(accumulator)
    assert_close(case, accumulator, case.measured(*draws, *draws))


@each
def test_a_state_that_was_saved_goes_on_as_if_never_stopped(case, tmp_path):
    draws = [case.draw() for _ in range(4)]
    for done in range(4):
        stopped = case.measured(*draws[:done])
        torch.save(stopped.state_dict(), tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        later = case.measured(case.draw())  # of which nothing is left
        later.load_state_dict(state)
        loaded = exactly(state)
        for arguments in draws[done:]:
            case.add(later, arguments)
        assert state_of(later) == state_of(case.measured(*draws))
        assert exactly(state) == loaded


@each
def test_a_state_stays_as_it_is(case):
    draws = [case.draw() for _ in range(3)]
    accumulator = case.measured(*draws[:2])
    state = accumulator.state_dict()
    before = exactly(state)
    case.add(accumulator, draws[2])
    accumulator.merge(case.measured(case.draw()))
    assert exactly(state) == before


@each
def test_results_do_not_change_with_later_updates(case):
    accumulator = case.measured(case.draw(), case.draw())
    results = case.results(accumulator)
    before = exactly(list(results))
    case.add(accumulator, case.draw())
    assert exactly(list(results)) == before


@each
def test_states_of_something_else_are_refused(case):
    measured = case.measured(case.draw())
    state = measured.state_dict()
    foreign = [
        {"weight": torch.ones(1)},
        {**state, "more": 1},
        *({key: value for key, value in state.items() if key != missing} for missing in state),
        *(other.state_dict() for other in case.other_settings),
        *(other.state_dict() for other in of_other_kinds(case)),
    ]
    for other in foreign:
        assert_refuses(measured, lambda other=other: measured.load_state_dict(other))
    with pytest.raises(ValueError, match=rf"not the state of a {type(measured).__name__}: it has \['weight'\]"):
        measured.load_state_dict(foreign[0])


@each
def test_merging_what_does_not_fit_is_refused(case):
    measured = case.measured(case.draw())
    others = [
        *case.other_settings,
        *(case.measured(draw()) for draw in case.misfits),
        *of_other_kinds(case),
    ]
    for other in others:
        before = state_of(other)
        assert_refuses(measured, lambda other=other: measured.merge(other))
        assert state_of(other) == before
    for setting in case.other_settings:
        with pytest.raises(ValueError, match="Only what was measured in the same way can be merged"):
            measured.merge(setting)


@each
def test_an_update_that_fails_changes_nothing(case):
    measured, empty = case.measured(case.draw(), case.draw()), case.make()
    for draw in case.misfits:
        assert_refuses(measured, lambda draw=draw: case.add(measured, draw()))
    for draw in case.wrong:
        assert_refuses(measured, lambda draw=draw: case.add(measured, draw()))
        assert_refuses(empty, lambda draw=draw: case.add(empty, draw()))


@each
def test_after_a_reset_there_is_nothing(case):
    accumulator = case.measured(case.draw())
    accumulator.reset()
    assert state_of(accumulator) == state_of(case.make())
    assert_refuses(accumulator, lambda: case.results(accumulator), RuntimeError)
    draw = case.misfits[0]()
    case.add(accumulator, draw)
    assert state_of(accumulator) == state_of(case.measured(draw))


@each
def test_nothing_is_kept_of_what_was_handed_in(case):
    arguments = case.draw()
    handed_in = [x for each in arguments for x in (each.values() if isinstance(each, dict) else [each])]
    handed_in = [x for x in handed_in if isinstance(x, Tensor)]
    for tensor in handed_in:
        tensor.requires_grad_(tensor.is_floating_point())
    accumulator = case.measured(arguments)
    before = state_of(accumulator)
    assert not any(result.requires_grad for result in case.results(accumulator))
    for tensor in handed_in:
        tensor.detach().zero_()
    assert state_of(accumulator) == before
