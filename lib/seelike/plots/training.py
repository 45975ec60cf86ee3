"""Learning curves of the tiny networks."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from seelike.models import TrainingRecord
from seelike.plots.style import WIDTH, in_lines, looks

# Letters of a name that fit beside the axes.
_LETTERS = 16


def learning_curves(panels: Mapping[str, Sequence[TrainingRecord]]) -> Figure:
    """Draw the accuracy on the test images after each epoch, against the images that the network has seen by then.

    Args:
        panels: For each title, the records of the networks whose curves are in one panel.

    Returns:
        The figure, a panel below the other. As the last expression of a cell it is shown.

    Example:
        >>> from seelike.models import training_records
        >>> figure = learning_curves({"All": training_records()})
        >>> figure.axes[0].get_xlabel()
        'training images seen, with repetition'
    """
    figure = Figure(figsize=(WIDTH, 2.7 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, (title, records) in zip(all_axes, panels.items(), strict=True):
        drawn = looks(record.name for record in records)
        for record in records:
            seen = [record.training_images * point["epoch"] for point in record.curve]
            accuracies = [point["accuracy"] for point in record.curve]
            name = record.name.removeprefix("tiny/")
            colour, dashes = drawn[record.name]
            axes.plot(seen, accuracies, dashes, color=colour, label=in_lines(name, _LETTERS), linewidth=1.5)
        axes.set(title=title, ylabel="accuracy", xscale="log")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    all_axes[-1].set_xlabel("training images seen, with repetition")
    return figure
