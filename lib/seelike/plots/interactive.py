"""Figures to look around in: a slider and a menu that work in a page without a kernel."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

_WITHIN_THE_PAGE = {"max_width": "100%"}


def states(
    figures: Mapping[str, Figure], label: str, alt: Mapping[str, str], *, begin: str | None = None
) -> widgets.Widget:
    """Put finished figures behind a slider and a menu, of which one is seen at a time.

    They are joined in the page itself, so the widget works in a rendered book, without a kernel.

    Args:
        figures: The figure of each state, by the name that the menu shows.
        label: What the states are, for the slider and the menu: "Networks".
        alt: A text for those who cannot see the figure, for each state.
        begin: The state that is seen first; by default the first of `figures`.

    Returns:
        The widget. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no figure, the states of `figures` and `alt` differ, or `begin` is none of them.

    Example:
        >>> figures = {"first": Figure(), "second": Figure()}
        >>> widget = states(figures, "State", {"first": "Nothing yet.", "second": "Still nothing."})
        >>> [type(child).__name__ for child in widget.children]
        ['HBox', 'Stack']
    """
    if not figures or list(figures) != list(alt):
        raise ValueError(
            f"states needs one or more figures, and the same states in alt, in the same order; got figures "
            f"for {list(figures)} and alt for {list(alt)}."
        )
    if begin is not None and begin not in figures:
        raise ValueError(f"begin is {begin!r}; expected one of the states, {list(figures)}.")
    first = 0 if begin is None else list(figures).index(begin)
    stack = _stack([_picture_with_text(figure, name, alt[name]) for name, figure in figures.items()], first)
    if len(figures) == 1:
        return stack
    return widgets.VBox([_controls(label, list(figures), [stack], first), stack], layout=_WITHIN_THE_PAGE)


def states_of_two(
    figures: Mapping[tuple[str, str], Figure], labels: tuple[str, str], alt: Mapping[tuple[str, str], str]
) -> widgets.Widget:
    """Put finished figures behind two sliders, each with its menu: one figure for each pair of choices.

    Like `states`, it works in a rendered book, without a kernel.

    Args:
        figures: The figure of each pair of choices, by the two names that the menus show. Every first choice comes
            with every second one.
        labels: What the first and the second choice are.
        alt: A text for those who cannot see the figure, for each pair.

    Returns:
        The widget. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no figure, a pair is missing, or the pairs of `figures` and `alt` differ.

    Example:
        >>> pairs = [(row, column) for row in ("first", "last") for column in ("first", "middle", "last")]
        >>> texts = {pair: "Nothing yet." for pair in pairs}
        >>> widget = states_of_two({pair: Figure() for pair in pairs}, ("Row", "Column"), texts)
        >>> [type(child).__name__ for child in widget.children]
        ['HBox', 'HBox', 'Stack']
    """
    rows, columns = (list(dict.fromkeys(pair[place] for pair in figures)) for place in (0, 1))
    expected = {(row, column) for row in rows for column in columns}
    if not figures or set(figures) != expected or set(alt) != expected:
        raise ValueError(
            f"states_of_two needs a figure and a text for each of the {len(rows)} x {len(columns)} pairs of "
            f"choices; got figures for {list(figures)} and alt for {list(alt)}."
        )
    inner = [
        _stack(
            [_picture_with_text(figures[row, column], f"{row}, {column}", alt[row, column]) for column in columns]
        )
        for row in rows
    ]
    outer = _stack(inner)
    controls = [
        _controls(label, choices, stacks)
        for label, choices, stacks in zip(labels, (rows, columns), ([outer], inner), strict=True)
        if len(choices) > 1
    ]
    return widgets.VBox([*controls, outer], layout=_WITHIN_THE_PAGE)


def _stack(children: Sequence[widgets.Widget], first: int = 0) -> widgets.Stack:
    return widgets.Stack(children, selected_index=first, layout=_WITHIN_THE_PAGE)


def _controls(label: str, choices: Sequence[str], stacks: Sequence[widgets.Stack], first: int = 0) -> widgets.HBox:
    """A slider and a menu for two choices or more, joined in the page with each other and with the stacks."""
    # A slider whose ends are equal does not start in the page, and stops the other widgets there.
    slider = widgets.IntSlider(
        min=0,
        max=len(choices) - 1,
        value=first,
        readout=False,
        description=label,
        style={"description_width": "initial"},
        layout={"width": "18em", "max_width": "100%"},
    )
    menu = widgets.Dropdown(
        options=list(choices), index=first, tooltip=label, layout={"width": "18em", "max_width": "100%"}
    )
    for stack in stacks:
        widgets.jslink((slider, "value"), (stack, "selected_index"))
    widgets.jslink((slider, "value"), (menu, "index"))
    return widgets.HBox([slider, menu], layout={"flex_flow": "row wrap", **_WITHIN_THE_PAGE})


def _picture_with_text(figure: Figure, name: str, alt: str) -> widgets.HTML:
    # widgets.Image has no alternative text, so each picture is an <img> with one.
    return widgets.HTML(_picture(figure, name, alt))


def _picture(figure: Figure, name: str, alt: str) -> str:
    png = BytesIO()
    figure.savefig(png, format="png", dpi=160, bbox_inches="tight")
    encoded = base64.b64encode(png.getvalue()).decode()
    return (
        '<figure style="margin: 0; line-height: 1.4">'
        f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(alt)}" '
        'style="max-width: 100%; height: auto">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
    )


def live(
    draw: Callable[..., Figure], *, begin: Mapping[str, Any] | None = None, **choices: Sequence[Any]
) -> widgets.Widget:
    """Draw a figure anew for every choice: where a kernel runs, and states are too many to draw all.

    Unlike `ipywidgets.interact` it captures no output, which an executing notebook can wait for without end.

    Args:
        draw: Makes the figure, from one value of each choice, by name.
        begin: What is chosen first, by name; by default the first that can be.
        choices: What can be chosen: a menu, or for a range a slider.

    Returns:
        The widget. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is nothing to choose from.

    Example:
        >>> widget = live(lambda token: Figure(), token=range(5))
        >>> [type(child).__name__ for child in widget.children]
        ['IntSlider', 'HTML']
    """
    empty = [name for name, options in choices.items() if len(options) == 0]
    if empty or not choices:
        raise ValueError(f"live needs one or more choices, each with something to choose; got {choices}.")
    first = {name: options[0] for name, options in choices.items()} | dict(begin or {})
    controls = {
        name: widgets.IntSlider(
            min=options.start, max=options[-1], step=options.step, value=first[name], description=name
        )
        if isinstance(options, range)
        else widgets.Dropdown(options=list(options), value=first[name], description=name)
        for name, options in choices.items()
    }
    picture = widgets.HTML()

    def redraw(*_: Any) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        label = ", ".join(f"{name} {value}" for name, value in chosen.items())
        picture.value = _picture(draw(**chosen), label, label)

    for control in controls.values():
        control.observe(redraw, "value")
    redraw()
    return widgets.VBox([*controls.values(), picture], layout=_WITHIN_THE_PAGE)
