"""Figures to look around in: a slider and a menu that work in a page without a kernel."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure


def states(figures: Mapping[str, Figure], label: str, alt: Mapping[str, str]) -> widgets.Widget:
    """Put finished figures behind a slider and a menu, of which one is seen at a time.

    They are joined in the page itself, so the widget works in a rendered book, without a kernel.

    Args:
        figures: The figure of each state, by the name that the menu shows.
        label: What the states are, for the slider and the menu: "Networks".
        alt: A text for those who cannot see the figure, for each state.

    Returns:
        The widget. As the last expression of a cell it is shown.

    Raises:
        ValueError: There is no figure, or the states of `figures` and `alt` differ.

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
    # widgets.Image has no alternative text, so each picture is an <img> with one.
    pictures = [widgets.HTML(_picture(figure, name, alt[name])) for name, figure in figures.items()]
    stack = widgets.Stack(pictures, selected_index=0, layout={"max_width": "100%"})
    # A slider whose ends are equal does not start in the page, and stops the other widgets there.
    if len(figures) == 1:
        return stack
    slider = widgets.IntSlider(
        min=0,
        max=len(figures) - 1,
        readout=False,
        description=label,
        style={"description_width": "initial"},
        layout={"width": "18em", "max_width": "100%"},
    )
    menu = widgets.Dropdown(
        options=list(figures), index=0, tooltip=label, layout={"width": "18em", "max_width": "100%"}
    )
    widgets.jslink((slider, "value"), (stack, "selected_index"))
    widgets.jslink((slider, "value"), (menu, "index"))
    controls = widgets.HBox([slider, menu], layout={"flex_flow": "row wrap", "max_width": "100%"})
    return widgets.VBox([controls, stack], layout={"max_width": "100%"})


def _picture(figure: Figure, name: str, alt: str) -> str:
    png = BytesIO()
    figure.savefig(png, format="png", dpi=160, bbox_inches="tight", facecolor="white")
    encoded = base64.b64encode(png.getvalue()).decode()
    return (
        '<figure style="margin: 0; line-height: 1.4">'
        f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(alt)}" '
        'style="max-width: 100%; height: auto">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
    )


def live(draw: Callable[..., Figure], **choices: Sequence[Any]) -> widgets.Widget:
    """Draw a figure anew for every choice: where a kernel runs, and states are too many to draw all.

    Unlike `ipywidgets.interact` it captures no output, which an executing notebook can wait for without end.

    Args:
        draw: Makes the figure, from one value of each choice, by name.
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
    controls = {
        name: widgets.IntSlider(
            min=options.start, max=options[-1], step=options.step, value=options.start, description=name
        )
        if isinstance(options, range)
        else widgets.Dropdown(options=list(options), description=name)
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
    return widgets.VBox([*controls.values(), picture], layout={"max_width": "100%"})
