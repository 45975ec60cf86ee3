"""Exercises: right answers pass, usual slips are named, and each stands in one notebook."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from seelike.errors import UnknownName
from seelike.exercises import EXERCISES, check

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CASES = [(name, what, slip) for name, exercise in EXERCISES.items() for what, slip in exercise.slips.items()]


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_right_passes(name, capsys):
    check(name, EXERCISES[name].right)
    assert capsys.readouterr().out == f"{name}: right.\n"


@pytest.mark.parametrize(("name", "what", "slip"), CASES)
def test_a_usual_slip_is_named(name, what, slip, capsys):
    check(name, slip)
    assert capsys.readouterr().out == f"{name}: not yet. {what}\n"


def test_plain_cka_is_that_of_the_library(capsys):
    """An answer from the other form, ||X'Y||^2 / (||X'X|| ||Y'Y||), which is the same number."""

    def cka(x, y):
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        return np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)

    check("03.1", cka)
    assert "right" in capsys.readouterr().out


def test_two_unrelated_layers_are_as_alike_as_the_exercise_says(capsys):
    def one(seed):
        x, y = np.random.default_rng(seed).normal(size=(2, 32, 100))
        return EXERCISES["03.1"].right(x, y)

    values = [one(seed) for seed in range(20)]
    check("A.2", np.mean(values))
    assert "right" in capsys.readouterr().out
    assert max(abs(np.array(values) - 0.76)) < 0.05 * 0.76


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("04.1", 0.5, "expected a function of a map of CKA"),
        ("04.1", lambda values: values, "shape (9, 9); expected ()"),
        ("04.1", lambda values: values.sum(), "On random input it gives"),
        ("04.1", lambda: 1, "TypeError"),
        ("05.1", 17, "Got 17"),
        ("05.1", "far", "Got 'far'"),
        ("05.1", np.mean, "Got a function"),
        ("E.1", 1.0, "expected two numbers"),
    ],
)
def test_other_answers_are_told_what_is_off(name, answer, says, capsys):
    check(name, answer)
    assert says in capsys.readouterr().out


def test_no_answer_prints_nothing(capsys):
    check("03.1", None)
    assert not capsys.readouterr().out
    with pytest.raises(UnknownName, match=r"03\.9"):
        check("03.9", None)


def test_each_stands_in_one_notebook_without_an_answer():
    found = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page = path.stem.partition("_")[0]
        for cell in nbformat.read(path, as_version=4).cells:
            names = re.findall(r'exercises\.check\("([\w.]+)", answer\)', cell.source)
            if names:
                assert {"exercise", "show-code"} <= set(cell.metadata.tags), f"{path.name}: tags of {names}"
                assert "answer = None" in cell.source
                assert all(name.partition(".")[0] == page for name in names)
                found += names
    assert sorted(found) == sorted(EXERCISES)
