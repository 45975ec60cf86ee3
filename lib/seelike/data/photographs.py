"""Twelve photographs that may be shown: in the public domain, or under licences that ask for the author's name.

Those of ImageNet and CIFAR may be measured on, but not shown on a page. These are part of the package. The file
sources.toml beside them says who made each, under which licence, where it came from and how it was cut.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from seelike.data.image_set import ImageSet, of_files

_FOLDER = Path(__file__).parents[1] / "photographs"


@dataclass(frozen=True)
class Photograph:
    """What has to be said of a photograph where it is shown.

    Attributes:
        file: Where it is.
        shows: What it shows.
        author: Who made it.
        licence: Name of its licence, or "public domain".
        licence_address: Address of the text of the licence.
        package: The package that it was taken from, with its version.
        path: Where its source lies in the package.
        stated_in: The file of the package that states author and licence.
        crop: The square that was cut of the source: left edge, top edge and side, in pixels.
        sha256: Checksum of the file.
        origin: Address that the package names as the place the photograph came from; None where it names none.
    """

    file: Path
    shows: str
    author: str
    licence: str
    licence_address: str
    package: str
    path: str
    stated_in: str
    crop: tuple[int, int, int]
    sha256: str
    origin: str | None = None


def sources() -> tuple[Photograph, ...]:
    """Read what has to be said of each photograph, in the order of the image set.

    Example:
        >>> dogs = sources()[7]
        >>> dogs.file.name, dogs.shows
        ('dogs.jpg', 'two spaniels that look out of a door')
        >>> dogs.author, dogs.licence, dogs.licence_address
        ('Aitzol Berasategi, 2018', 'CC BY 4.0', 'https://creativecommons.org/licenses/by/4.0/')
    """
    with (_FOLDER / "sources.toml").open("rb") as file:
        table = tomllib.load(file)
    return tuple(
        Photograph(
            file=_FOLDER / f"{name}.jpg",
            licence_address=table["licences"][entry["licence"]],
            crop=tuple(entry.pop("crop")),
            **entry,
        )
        for name, entry in table["photographs"].items()
    )


def credit_line(photographs: Iterable[Photograph]) -> str:
    """Name the authors of photographs by their licences, in one line.

    Example:
        >>> credit_line(sources()[5:8])
        'Rachel Michetti; Clemens Engelhardt, 2018 (CC0 1.0); Aitzol Berasategi, 2018 (CC BY 4.0)'
    """
    authors: dict[str, dict[str, None]] = {}
    for each in photographs:
        authors.setdefault(each.licence, {})[each.author] = None
    return "; ".join(f"{'; '.join(names)} ({licence})" for licence, names in authors.items())


def photograph_set() -> ImageSet:
    """Load the photographs, 256 x 256 pixels in RGB, without classes."""
    shown = sources()
    note = f"These photographs may be shown. They were cut and scaled, and are by {credit_line(shown)}."
    return replace(of_files("photographs", [each.file for each in shown], None, None), note=note)
