"""Linear probes: what a layer knows about the class of an image (Figures 11, 13, D.4 and F.1 to F.3).

A probe is ridge regression from the representation of an image, in one layer and at one token, to targets
{-1, 1}^C, in closed form; it predicts the class of the largest output. `seelike.probes.ridge` has the mathematics.
Each token, and each way of pooling tokens, is a problem of its own, and all are solved at once.

A ResNet has few channels early, which would put its early layers at a disadvantage. So the feature map [c, h, w]
is cut into patches of k x k locations, and each patch flattened, with k such that c k^2 is near the c of the last
stage. Then it is averaged over the grid of the last stage (Appendix A). What is left are tokens, as in a
Transformer.

Networks are read batch by batch. What is kept of the training images are sums for each layer and token (or the
features, while there are fewer images than features); of the test images, who was right.

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
