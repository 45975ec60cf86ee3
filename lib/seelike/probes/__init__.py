"""Linear probes: what a layer knows about the class of an image (Figures 11, 13, D.4 and F.1 to F.3).

`layers` probes the layers of networks; `estimator` is one probe, as scikit-learn's; `ridge`, `leave_one_out` and
`strength` have the mathematics, and `labels` tells which labels are taken.

Source: Raghu et al. (2021), Section 7 and Appendices A, D and F.
"""

from seelike.probes.estimator import RidgeProbe
from seelike.probes.layers import TOKENS, Labelled, ProbeAccuracy, few_shot, patch_side, probe_layers
from seelike.probes.strength import STRENGTHS, held_out_part

__all__ = [
    "STRENGTHS",
    "TOKENS",
    "Labelled",
    "ProbeAccuracy",
    "RidgeProbe",
    "few_shot",
    "held_out_part",
    "patch_side",
    "probe_layers",
]
