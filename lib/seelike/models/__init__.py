"""Load a network, list the places in it that the paper reads, and read them.

Example:
    >>> import torch
    >>> model = load("resnet18:random")
    >>> outputs = layers(model, kinds=["block"])
    >>> activations = read(model, outputs[:2], torch.zeros(4, 3, 64, 64))
    >>> {name: tuple(activation.shape) for name, activation in activations.items()}
    {'block 1': (4, 64, 16, 16), 'block 2': (4, 64, 16, 16)}
"""

from seelike.models.layers import STREAM, Layer, Residual, family, layers, places, residuals
from seelike.models.loading import available, load, preprocessing
from seelike.models.overview import size_and_accuracy
from seelike.models.places import Place
from seelike.models.precision import PRECISIONS, precision_of, with_precision
from seelike.models.reading import read, read_tokens
from seelike.models.records import (
    TrainingRecord,
    accuracy_difference,
    model_card,
    training_record,
    training_records,
)
from seelike.models.sources import WeightsSource, weights_source

__all__ = [
    "PRECISIONS",
    "STREAM",
    "Layer",
    "Place",
    "Residual",
    "TrainingRecord",
    "WeightsSource",
    "accuracy_difference",
    "available",
    "family",
    "layers",
    "load",
    "model_card",
    "places",
    "precision_of",
    "preprocessing",
    "read",
    "read_tokens",
    "residuals",
    "size_and_accuracy",
    "training_record",
    "training_records",
    "weights_source",
    "with_precision",
]
