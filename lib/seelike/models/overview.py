"""The networks of a page at a glance."""

from collections.abc import Mapping

import pandas as pd
from torch import nn

from seelike.models.layers import layers
from seelike.models.records import training_record


def size_and_accuracy(networks: Mapping[str, nn.Module]) -> pd.DataFrame:
    """Put the sizes of some networks and, of the tiny ones, their accuracy into one table, for people to read.

    Args:
        networks: Any networks, by the names that `seelike.models.load` took.

    Returns:
        By network: how many layers the pages read, its parameters in millions, and its accuracy on test images in
        percent with the binomial standard error; that is empty where there is no record of the training.

    Example:
        >>> from seelike.models import load
        >>> table = size_and_accuracy({"tiny/resnet": load("tiny/resnet")})
        >>> print(*table.loc["tiny/resnet", ["layers", "parameters (millions)"]])
        61 0.08
    """
    rows = {}
    for name, network in networks.items():
        record = training_record(name)
        rows[name] = {
            "layers": len(layers(network)),
            "parameters (millions)": f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f}",
            "accuracy (%)": record.in_percent if record else "",
        }
    return pd.DataFrame.from_dict(rows, orient="index")
