"""Exact leave-one-out of ridge regression, at every strength, from one factorisation.

The regression that has not seen image i predicts for it, with no further regression,

    p_i = y_i - r_i / (1 - h_i),

where r_i is the residual of the image under the regression of all images, and h_i the weight that the image has
in its own prediction there. Let Yc be the centred targets, and Xc = U S^1/2 V' the centred features, with
eigenvalues S of the scatter (`seelike.probes.ridge`). The regression of strength a keeps the share s / (s + a)
of what lies along a direction u of the images and leaves a / (s + a), so with D = a (S + a)^-1

    r = (Yc - U U'Yc) + U D U'Yc
    1 - h_i = (1 - 1/n - |u_i|^2) + u_i D u_i'

(1/n is the intercept's). Written so, nothing cancels: where there are fewer images than features, a weak
regression passes nearly through every image, and both r and 1 - h are as small as D. What lies beyond all
directions, in the first brackets, is then 0, and what rounding makes of it is taken out.

Source: Rifkin and Lippert (2007), Notes on regularized least squares.
"""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from seelike.probes.ridge import RidgePath
from seelike.probes.strength import agreement_and_error

# Outputs that are worked on at a time: so many that they stay in a CPU's cache, or occupy a GPU.
_OUTPUTS_ON_CPU, _OUTPUTS_ON_GPU = 2**17, 2**25
# A share of an image beyond all directions that is only rounding.
_NOTHING = 1e-10


def leave_one_out_scores(
    path: RidgePath,
    directions: Float64[Tensor, "*problems n r"],
    labels: Int64[Tensor, "n"],
    strengths: Float64[Tensor, "strengths"],
) -> Float64[Tensor, "2 strengths *problems"]:
    """Give the mean agreement and squared error of images, each under the regression of all others.

    Beside the directions themselves it needs memory for some thousands of outputs at a time only.

    Args:
        path: The regressions of all images.
        directions: U, as `seelike.probes.ridge.factorise` gives it with the path.
        labels: Class of each image, from 0.
        strengths: The strengths.

    Example:
        >>> from seelike.probes.ridge import factorise
        >>> features, labels = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
        >>> leave_one_out_scores(*factorise(features, labels, 2), labels, torch.tensor([0.1, 1.0]).double())
        tensor([[1.0000, 1.0000],
                [0.4271, 0.3605]], dtype=torch.float64)
    """
    n, classes = len(labels), len(path.target_mean)
    labels = labels.to(directions.device)
    own = torch.eye(classes, dtype=directions.dtype, device=directions.device)
    targets = 2 * own - 1 - path.target_mean  # of an image of each class, centred
    # U'Yc is twice the sums over each class, since directions of centred features sum to zero.
    sums = directions.new_zeros(*directions.shape[:-2], classes, directions.shape[-1])
    along = 2 * sums.index_add_(-2, labels, directions).mT
    largest = _OUTPUTS_ON_GPU if directions.is_cuda else _OUTPUTS_ON_CPU
    size = max(1, largest // (path.mean[..., 0].numel() * classes))
    scores = directions.new_zeros(2, len(strengths), *directions.shape[:-2])
    for u, label in zip(directions.split(size, dim=-2), labels.split(size), strict=True):
        squares = u.square()
        beyond = 1 - 1 / n - squares.sum(dim=-1, keepdim=True)
        beyond = beyond.where(beyond > _NOTHING, 0)
        rest = (targets[label] - u @ along).where(beyond > 0, 0)
        for i, strength in enumerate(strengths):
            left = (strength / (path.eigenvalues + strength))[..., None]
            residuals = rest + u @ (left * along)
            outputs = 2 * own[label] - residuals / (beyond + squares @ left)
            scores[:, i] += agreement_and_error(outputs, label).sum(dim=-1)
    return scores / n
