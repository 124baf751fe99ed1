"""How much of a picture a compression token looks at, in three figures, from its attention weights.

a_v is the weight of visual token v of the V tokens of a picture, p_v = a_v / sum(a) its part of what the picture gets.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def share(weights: npt.ArrayLike) -> Array:
    """sum_v a_v of weights (..., V): the share of a token's attention that the picture gets, from 0 to 1."""
    total: Array = np.asarray(weights, dtype=np.float64).sum(axis=-1)
    return total


def entropy(weights: npt.ArrayLike) -> Array:
    """-sum_v p_v ln p_v / ln V of weights (..., V): 0 where one visual token gets all, 1 where all get the same.

    0 too where there is one visual token, and where the picture gets nothing.
    """
    parts = _parts(weights)
    logs = np.log(parts, out=np.zeros_like(parts), where=parts > 0)
    even = np.log(max(2, parts.shape[-1]))
    found: Array = -(parts * logs).sum(axis=-1) / even
    return found


def half(weights: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which of the visual tokens (..., V) are in the smallest set with sum p_v >= 1/2: the heaviest first, of equal ones the
    first. None where the picture gets nothing."""
    parts = _parts(weights)
    order = np.argsort(-parts, axis=-1, kind="stable")
    sums = np.take_along_axis(parts, order, axis=-1).cumsum(axis=-1)
    before = np.concatenate([np.zeros_like(sums[..., :1]), sums[..., :-1]], axis=-1)
    chosen = (before < 0.5 - 1e-9) & (sums[..., -1:] > 0)
    out = np.zeros(parts.shape, dtype=bool)
    np.put_along_axis(out, order, chosen, axis=-1)
    return out


def coverage(weights: npt.ArrayLike) -> Array:
    """n / V of weights (..., V), n the size of the smallest set of visual tokens that gets half (`half`): 1 / V where one gets
    all, 1/2 where all get the same."""
    found: Array = half(weights).mean(axis=-1)
    return found


def coverage_together(weights: npt.ArrayLike) -> Array:
    """|union over tokens k of half(a_k)| / V of weights (..., K, V): what the tokens cover between them.

    As large as one token's coverage where all look at the same place, as their sum where each looks at another.
    """
    found: Array = half(weights).any(axis=-2).mean(axis=-1)
    return found


def _parts(weights: npt.ArrayLike) -> Array:
    given = np.asarray(weights, dtype=np.float64)
    total = given.sum(axis=-1, keepdims=True)
    parts: Array = np.divide(given, total, out=np.zeros_like(given), where=total > 0)
    return parts
