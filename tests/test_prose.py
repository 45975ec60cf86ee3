"""The prose of the pages is true of every run: no result of a measurement is typed into it by hand.

A page runs at several profiles, with the same text. A number in its prose may be one of these:

1. the paper's, or another publication's: the sentence says "the paper" or cites, or the paragraph begins with "The
   paper found" or "Others found";
2. an input of the measurement, or made by hand from toy numbers: the same number stands in a code cell of the page;
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

COUNT = "(?:\\d+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|a hundred|some)"
NUMBERS = re.compile(
    rf"""
    (?<![\w.])[-+]?\d[\d,]*\.\d+            # 0.85
    | \d+\ ?%                               # 70 %
    | ±\ ?[\d.]+                            # ± 5
    | \b{COUNT}\ (?:percent|points?\ (?:of\ accuracy|better|worse|less|more|behind|ahead)|points?(?=[.,;:)]))
    | \b{COUNT}\ (?:tenths|hundredths?|thousandths?|millionths?)
    | \b{COUNT}\ (?:of\ (?:the\ )?\d+\ )?claims
    | (?<!Figure\ )(?<!Section\ )\b{COUNT}\ (?:hold|do\ not\ hold|are\ undecided)\b
    | \bfactor\ of\ (?:about\ )?\w+
    | \b(?:\d+|nine|ten)\ times\ (?:its|the|as)
    """,
    re.VERBOSE,
)
# Names, formulas and code are no prose; the numbers in them are not results.
NO_PROSE = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)", re.DOTALL)
SOURCE = re.compile(r"\bpapers?\b|\bet al\.|^\*\*(The paper|Others) found\*\*")
SENTENCE = re.compile(r"(?<=[.?!:;])\s+(?=[A-Z*\[(])")

# What stands on every page: Student's intervals, which `seelike.uncertainty` makes.
EVERYWHERE = {"95 %"}
ALLOWED: dict[str, dict[str, str]] = {}


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
    """Whether a page's code has the number, a percentage also as a share."""
    if match := re.fullmatch(r"(\d+) ?%", number):
        share = f"{int(match.group(1)) / 100:g}"
        return in_code(match.group(1), code) or in_code(share, code)
    return re.search(rf"(?<![\w.]){re.escape(number.lstrip('+'))}0*(?![\w.]\d|\d)", code) is not None


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
