"""Centred kernel alignment (CKA): how alike two layers arrange the same images.

Take n images. Layer X turns them into features [n, p], layer Y into features [n, q]; p and q may differ.
Their Gram matrices K = X X' and L = Y Y', both [n, n], hold the inner products of all pairs of images. The
Hilbert-Schmidt independence criterion HSIC(K, L) measures how much the two agree, and

    CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

is that agreement on a scale where 1 means the same up to rotation and isotropic scaling.

The plain estimator of HSIC is biased: two unrelated layers look alike where images are few and features many.
The estimator of Song et al. (2012) has no bias. With K~ and L~ for K and L with zeros on the diagonal, it is

    HSIC = 1 / (n (n - 3)) * [ tr(K~ L~) + 1'K~1 1'L~1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K~ L~1 ].

It is an inner product in disguise. Let U zero the diagonal, subtract what rows and columns have in common,

    U(K)_ij = K~_ij - sum_k K~_ik / (n - 2) - sum_k K~_kj / (n - 2) + sum_kl K~_kl / ((n - 1)(n - 2))

for i != j, and zero the diagonal again ("U-centring", Szekely and Rizzo 2014). Then

    HSIC = <U(K), U(L)> / (n (n - 3)),

so all pairs of layers are one matrix product of flattened U-centred Grams. It also says what values can come
out: HSIC of a layer with itself is a squared norm, so never negative; HSIC of two layers may be negative, and
so may CKA: where two layers are unrelated, unbiased estimates lie on both sides of zero. |CKA| <= 1. Nothing
here is clamped.

Ten thousand images do not fit in one Gram matrix. Since each minibatch gives an unbiased HSIC, Nguyen et al.
(2020) average each of the three HSICs over minibatches first, and divide once at the end. (The average of the
CKAs of minibatches would be biased.) That is what Appendix A of Raghu et al. (2021) does.

Sources: Song et al. (2012), Feature selection via dependence maximization; Kornblith et al. (2019),
Similarity of neural network representations revisited; Nguyen et al. (2020), Do wide and deep networks learn
the same things?; Raghu et al. (2021), Section 3 and Appendix A.

`gram`, `u_center`, `hsic`, `cka` and the accumulators `MinibatchCKA` and `PairedCKA` take features. `cka_between`
and `compare_models` compare all layers of networks, `compare_pairs` block with block (Figures 12 and G.1), and
`compare_heads` subsets of attention heads with layers (Figure 5), all in bounded memory.
"""

from seelike.cka.comparison import (
    HeadComparison,
    ModelComparison,
    PairComparison,
    cka_between,
    compare_heads,
    compare_models,
    compare_pairs,
    minibatches,
)
from seelike.cka.estimators import (
    CentredGrams,
    DeadLayerError,
    MinibatchCKA,
    MinibatchCKAAndNeighbours,
    PairedCKA,
    PairedCKAAndNeighbours,
    cka,
    float32_products_are_exact,
    gram,
    hsic,
    u_center,
)

__all__ = [
    "CentredGrams",
    "DeadLayerError",
    "HeadComparison",
    "MinibatchCKA",
    "MinibatchCKAAndNeighbours",
    "ModelComparison",
    "PairComparison",
    "PairedCKA",
    "PairedCKAAndNeighbours",
    "cka",
    "cka_between",
    "compare_heads",
    "compare_models",
    "compare_pairs",
    "float32_products_are_exact",
    "gram",
    "hsic",
    "minibatches",
    "u_center",
]
