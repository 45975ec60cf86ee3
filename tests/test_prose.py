"""The prose of the pages is true of every run: no result of a measurement is typed into it by hand.

A page runs at several profiles, with the same text. A number in its prose may be one of these:

1. the paper's, or another publication's: the sentence says "the paper" or cites, or the paragraph begins with
   "The paper found" or "Others found";
2. an input of the measurement, or made by hand from toy numbers: the same number stands in a code cell;
3. in a question, as something to choose from;
4. one that `ALLOWED` names, with a reason.

Decimals, percentages, and amounts of what is measured ("nine points", "23 claims") count as numbers here. Whole
numbers of other things, such as pixels and blocks, are sizes.
"""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
COUNT = rf"(?:\d+|{'|'.join(WORDS)})"
NUMBERS = re.compile(
    rf"""
    (?<![\w.])[-+]?\d[\d,]*\.\d+            # 0.85
    | \d+\ ?%                               # 70 %
    | ±\ ?[\d.]+                            # ± 5
    | \b{COUNT}\ (?:percent|points?\ (?:of\ accuracy|better|worse|less|more|behind|ahead)|points?(?=[.,;:)]))
    | \b{COUNT}\ (?:tenths|hundredths?|thousandths?|millionths?)
    | \b{COUNT}\ (?:of\ (?:the\ )?\d+\ )?claims
    | (?<!Figure\ )(?<!Section\ )\b{COUNT}\ (?:hold|do\ not\ hold|are\ undecided)\b
    | (?<=factor\ of\ ){COUNT}
    | (?<=factor\ of\ about\ ){COUNT}
    | \b{COUNT}\ times\ (?:its|the|as)
    """,
    re.VERBOSE,
)
# Names, formulas and code are no prose; the numbers in them are not results.
NO_PROSE = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)", re.DOTALL)
SOURCE = re.compile(r"\bpapers?\b|\bet al\.|^\*\*(The paper|Others) found\*\*")
SENTENCE = re.compile(r"(?<=[.?!:;])(?<!al\.)\s+(?=[A-Z*\[(])")

# What stands on every page: Student's intervals, which `seelike.uncertainty` makes.
EVERYWHERE = {"95 %"}
ALLOWED = {
    "05_local_global": {
        "1.5": "distances of toy pixels from their middle",
        "0.4": "geometry: the circle that holds half of a square",
    },
    "09_discussion": {"0.05": "the axis of `plots.forest`"},
    "A_methods": {"0.1": "size of the tiny networks, in millions", "1.6": "the same"},
    "B_representation_structure": {"0.75": "the mean depth of an upper half"},
    "E_propagation": {"0.71": "the cosine of 45 degrees", "0.99": "given in the exercise"},
    "tiny_networks": {
        "0.1": "size of the tiny networks, in millions",
        "1.6": "the same",
        "3 %": "a share of the data",
    },
}


def paragraphs(text: str) -> list[str]:
    """Paragraphs, items of lists and rows of tables, each on one line."""
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\|)", NO_PROSE.sub(" ", text))
    return [" ".join(part.split()) for part in parts]


def numbers_without_source(text: str) -> list[tuple[str, str]]:
    """Numbers that look like results and have no source in their sentence, each with the sentence."""
    found = []
    for paragraph in paragraphs(text):
        if re.match(r"\*\*(The paper|Others) found", paragraph):
            continue
        for sentence in SENTENCE.split(paragraph):
            if not SOURCE.search(sentence) and not sentence.rstrip("*").endswith("?"):
                found += [(match.group().strip(), sentence) for match in NUMBERS.finditer(sentence)]
    return found


def in_code(number: str, code: str) -> bool:
    """Whether a page's code has the number; percentages and points of accuracy also as a share."""
    first, *unit = re.split(r"\s+|(?<=\d)(?=%)", number)
    digits = str(WORDS.index(first)) if first in WORDS else first.lstrip("+")
    forms = {digits, f"{float(digits) / 100:g}"} if unit and unit[0][0] in "%p" else {digits}
    return any(re.search(rf"(?<![\w.]){re.escape(form)}(?![\d.])", code) for form in forms)


def texts(cell) -> list[str]:
    """What a reader is told by a cell: its Markdown, or the caption and the description of its figure."""
    if cell.cell_type == "markdown":
        return [cell.source]
    described = cell.metadata.get("mystnb", {})
    return [described.get("figure", {}).get("caption", ""), described.get("image", {}).get("alt", "")]


@each_notebook
def test_no_result_is_typed_by_hand(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    allowed = EVERYWHERE | ALLOWED.get(notebook.stem, {}).keys()
    typed = [
        f"{number}: {sentence}"
        for cell in cells
        for text in texts(cell)
        for number, sentence in numbers_without_source(text)
        if number not in allowed and not in_code(number, code)
    ]
    assert not typed, "\n".join(["Say it in words, or let a code cell give it:", *typed])


@each_notebook
def test_figures_are_described_for_every_run(notebook):
    """Neither a caption nor a description names the networks or images of one run."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for text in texts(cell) if cell.cell_type == "code" else ():
            assert not re.search(r"garment|Fashion|\btiny\b|vit_|7 ?x ?7|EfficientNet|DINO|photograph", text), text


@each_notebook
def test_what_one_run_gave_is_not_said_of_all(notebook):
    """A page lists the claims that it recorded, and says of the tiny networks what it says of them."""
    source = "\n".join(cell.source for cell in nbformat.read(notebook, as_version=4).cells)
    assert "Here we see" not in source
    if re.search(r"claims\.(record|not_testable)", source):
        taken = source.split("## What we take with us")[-1]
        assert "\nclaims.on_this_page()\n" in taken
        assert "**The tiny networks**" in taken or notebook.stem == "tiny_networks"


def test_what_counts_as_typed_by_hand():
    typed = "It is 0.72 here. Of 37 claims, 23 hold. By nine points, in 70 %, or 7 ± 0.5, by a factor of two."
    found = [number for number, _ in numbers_without_source(typed)]
    assert found == ["0.72", "37 claims", "23 hold", "nine points", "70 %", "± 0.5", "two"]
    sourced = ("The paper finds 0.72.", "**The paper found** it. It is 0.72.", "Is it 0.72?", "Set `alpha=0.72`.")
    assert not any(map(numbers_without_source, sourced))
    assert in_code("five points", "margin = 0.05")
    assert in_code("10 %", "share = 0.1")
    assert not in_code("0.9", "[0.95, 10.9]")
