"""Decoding of many syndromes, or received words, of one parity-check code at once: sum-product and min-sum.

A lane is a place for one of the words: every message is a short row of lanes, on which the processor works together,
and a lane that is done takes the next word. Sum-product carries odds, e^{2h} of fields h, as ``spin_sweeps`` do: with
λ = e^{-2|h|} two bits combine to (λ + λ')/(1 + λ λ'), so that there is no transcendental function, and only positive
terms.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.interface.arguments import check_choice, check_integer, check_number, real_array
from factorgraph.interface.brief import briefly
from factorgraph.messages.natural import Array
from factorgraph.model.parity_matrix import checked_matrix
from factorgraph.runtime.compiled import njit

#: Words that are decoded side by side.
_LANES = 16
#: Exponents below this stay clear of overflow.
_SAFE_EXPONENT = 600.0


@briefly
class Decoded(NamedTuple):
    """The ends of S decodings.

    Attributes:
        bits: (S, N) of 0 and 1: the likelier value of each.
        converged: (S,) whether the bits have the syndrome that was wanted.
        sweeps: (S,) how many it took.
    """

    bits: NDArray[np.uint8]
    converged: NDArray[np.bool_]
    sweeps: NDArray[np.int64]


def decode(
    matrix: Any,
    *,
    field: ArrayLike,
    syndromes: ArrayLike = 0,
    method: str = "sum-product",
    scale: float = 1.0,
    max_sweeps: int = 50,
) -> Decoded:
    """Return likely bits of many words of a code, by flooding until they have their syndromes.

    Args:
        matrix: (M, N) of 0 and 1, an array or a sparse matrix of SciPy; its rows are the checks.
        field: half the log-likelihood ratio of the bit 0 and the bit 1: a number, (N,), or (S, N) for each word.
        syndromes: of 0 and 1: a number, (M,), or (S, M) for each word.
        method: "sum-product", or "min-sum", with maxima instead of sums.
        scale: factor of the messages of "min-sum", in (0, 1]: it makes them as weak as sums are.
        max_sweeps: of a word.

    Raises:
        ModelError: not such a matrix.
        ValueError: fields or syndromes of other shapes or values, or an option outside its domain.
    """
    checks, (M, N) = checked_matrix(matrix)
    check_choice("method", method, ("sum-product", "min-sum"))
    scale = check_number("scale", scale, above=0.0, maximum=1.0)
    limit = check_integer("max_sweeps", max_sweeps, minimum=1, maximum=2**31 - 1)
    h, wanted = _rows("field", field, N), _rows("syndromes", syndromes, M)
    if not np.isin(wanted, (0.0, 1.0)).all():
        raise ValueError(f"`syndromes` must be of 0 and 1, got {wanted[~np.isin(wanted, (0.0, 1.0))][0]:g}")
    S = max(len(h), len(wanted))
    if {len(h), len(wanted)} - {1, S}:
        raise ValueError(f"`syndromes` must be as many as the {len(h)} rows of `field`, got {len(wanted)}")
    degree = int(np.bincount(checks.indices, minlength=N).max(initial=0))
    largest = _SAFE_EXPONENT / (2 * degree + 2)  # of a field, so that the product of all odds is a number
    given = np.clip(h, -largest, largest)
    sums = method == "sum-product"
    bits, sweeps = _decode(
        checks.indptr.astype(np.int64),
        checks.indices.astype(np.int64),
        np.exp(2.0 * given) if sums else given,
        wanted.astype(np.uint8),
        S,
        limit,
        np.exp(-2.0 * largest) if sums else scale,
        sums,
    )
    return Decoded(bits, sweeps <= limit, np.minimum(sweeps, limit))


def _rows(name: str, values: ArrayLike, size: int) -> Array:
    """Return a number, an array (size,) or rows (S, size) as rows."""
    array = real_array(name, values)
    if array.ndim > 2 or (array.ndim and array.shape[-1] != size) or not array.size:
        raise ValueError(f"`{name}` must be a number or of shape ({size},) or (words, {size}), got {array.shape}")
    return np.broadcast_to(array, (size,))[None] if array.ndim < 2 else array


@njit(cache=True, error_model="numpy")
def _sum_product(starts: Any, bits: Any, sign: Any, r: Any, T: Any, new_T: Any, smallest: float, work: Any) -> None:
    """One sweep over odds r (E, L) of messages and T (N, L) of totals; ``sign`` (M, L) is -1 for a syndrome of 1."""
    lam, side, before = work
    lanes = r.shape[1]
    after, signs = np.empty(lanes), np.empty(lanes)
    for c in range(starts.size - 1):
        first, k = starts[c], starts[c + 1] - starts[c]
        for a in range(lanes):
            after[a], signs[a] = 0.0, sign[c, a]
        for j in range(k):
            total, own, size, s, left = T[bits[first + j]], r[first + j], lam[j], side[j], before[j]
            for a in range(lanes):
                x = total[a] / own[a]
                y = 1.0 / x
                size[a], s[a] = min(x, y), (1.0 if x >= 1.0 else -1.0)
                left[a] = after[a]
                after[a] = (after[a] + size[a]) / (1.0 + after[a] * size[a])
                signs[a] *= s[a]
        for a in range(lanes):
            after[a] = 0.0
        for j in range(k - 1, -1, -1):
            total, own, size, s, left = new_T[bits[first + j]], r[first + j], lam[j], side[j], before[j]
            for a in range(lanes):
                out = max((left[a] + after[a]) / (1.0 + left[a] * after[a]), smallest)
                value = out if signs[a] * s[a] < 0.0 else 1.0 / out
                own[a] = value
                total[a] *= value
                after[a] = (after[a] + size[a]) / (1.0 + after[a] * size[a])


@njit(cache=True, error_model="numpy")
def _min_sum(starts: Any, bits: Any, sign: Any, r: Any, T: Any, new_T: Any, scale: float, work: Any) -> None:
    """The same for maxima: messages and totals are fields."""
    lam, side, before = work
    lanes = r.shape[1]
    after, signs = np.empty(lanes), np.empty(lanes)
    for c in range(starts.size - 1):
        first, k = starts[c], starts[c + 1] - starts[c]
        for a in range(lanes):
            after[a], signs[a] = np.inf, sign[c, a]
        for j in range(k):
            total, own, size, s, left = T[bits[first + j]], r[first + j], lam[j], side[j], before[j]
            for a in range(lanes):
                h = total[a] - own[a]
                size[a], s[a] = abs(h), (1.0 if h >= 0.0 else -1.0)
                left[a] = after[a]
                after[a] = min(after[a], size[a])
                signs[a] *= s[a]
        for a in range(lanes):
            after[a] = np.inf
        for j in range(k - 1, -1, -1):
            total, own, size, s, left = new_T[bits[first + j]], r[first + j], lam[j], side[j], before[j]
            for a in range(lanes):
                value = scale * signs[a] * s[a] * min(left[a], after[a])
                own[a] = value
                total[a] += value
                after[a] = min(after[a], size[a])


@njit(cache=True, error_model="numpy")
def _wrong(starts: Any, bits: Any, sign: Any, T: Any, neutral: float, wrong: Any) -> None:
    """Whether any check of a lane (L,) has another sign than its syndrome says."""
    lanes = T.shape[1]
    product = np.empty(lanes)
    wrong[:] = 0.0
    for c in range(starts.size - 1):
        for a in range(lanes):
            product[a] = sign[c, a]
        for e in range(starts[c], starts[c + 1]):
            total = T[bits[e]]
            for a in range(lanes):
                product[a] *= 1.0 if total[a] >= neutral else -1.0
        for a in range(lanes):
            wrong[a] = max(wrong[a], -product[a])


@njit(cache=True, error_model="numpy")
def _decode(
    starts: Any, bits: Any, own: Any, syndromes: Any, count: int, limit: int, bound: float, sums: bool
) -> tuple[Any, Any]:
    """Bits (S, N), and after how many sweeps they had their syndromes; more than ``limit`` if they had not."""
    M, N, E = starts.size - 1, own.shape[1], bits.size
    found, done = np.zeros((count, N), np.uint8), np.zeros(count, np.int64)
    neutral, lanes = (1.0 if sums else 0.0), min(_LANES, count)
    r, T, new_T, base = np.empty((E, lanes)), np.empty((N, lanes)), np.empty((N, lanes)), np.empty((N, lanes))
    sign, wrong, word, age = np.empty((M, lanes)), np.empty(lanes), np.full(lanes, -1), np.zeros(lanes, np.int64)
    widest = 1
    for c in range(M):
        widest = max(widest, starts[c + 1] - starts[c])
    work = np.empty((widest, lanes)), np.empty((widest, lanes)), np.empty((widest, lanes))
    waiting, busy = 0, lanes
    for a in range(lanes):
        wrong[a] = 0.0
    while busy > 0:
        # Lanes that are done give up their word, and take the next one.
        for a in range(lanes):
            if word[a] == -2 or (word[a] >= 0 and wrong[a] > 0.0 and age[a] < limit):
                continue
            if word[a] >= 0:
                done[word[a]] = age[a] if wrong[a] <= 0.0 else limit + 1
                for i in range(N):
                    found[word[a], i] = T[i, a] < neutral
            fresh = waiting < count
            word[a] = waiting if fresh else -2
            age[a] = 0
            if fresh:
                h, s = own[waiting if own.shape[0] > 1 else 0], syndromes[waiting if syndromes.shape[0] > 1 else 0]
                for i in range(N):
                    base[i, a] = h[i]
                    T[i, a] = h[i]
                for c in range(M):
                    sign[c, a] = 1.0 - 2.0 * s[c]
                for e in range(E):
                    r[e, a] = neutral
                waiting += 1
            else:
                busy -= 1
        if busy == 0:
            break
        new_T[:] = base
        if sums:
            _sum_product(starts, bits, sign, r, T, new_T, bound, work)
        else:
            _min_sum(starts, bits, sign, r, T, new_T, bound, work)
        T, new_T = new_T, T
        _wrong(starts, bits, sign, T, neutral, wrong)
        for a in range(lanes):
            age[a] += 1
    return found, done
