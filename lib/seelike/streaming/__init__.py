"""Carry a measurement over many images: batch by batch, within memory, and so that nothing is lost."""

from seelike.streaming.accumulate import HalvingBatch, accumulate
from seelike.streaming.accumulator import Accumulator
from seelike.streaming.images import Images
from seelike.streaming.moments import Moments
from seelike.streaming.saved import Saved, fingerprint

__all__ = ["Accumulator", "HalvingBatch", "Images", "Moments", "Saved", "accumulate", "fingerprint"]
