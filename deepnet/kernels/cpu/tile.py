"""The inner loop of float32 matrix products: a tile of the result held in vector registers.

The products of a layer are small, follow each other at once and are each followed by something elementwise. Written on
tiles, they are faster than calls of the linear algebra library, run on the threads of the other loops, and hand their
rows on while these are in cache. The right-hand factor is packed into *panels*: columns by ``WIDTH``, (panels, depth,
WIDTH), padded with zeros, or one by one where they are few; each thread packs its own, since reading what another one
wrote takes longer. The left-hand factor is read where it lies, as it is or transposed.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from deepnet.kernels.cpu.float32 import FAST, f32
from factorgraph.runtime.compiled import njit

_FEATURES = binding.get_host_cpu_features()

#: Numbers in a vector register, and vectors across a tile; rows of a tile. Rows times vectors accumulate, and a few
#: registers more hold factors: 24 of 32, or 12 of 16.
_LANES, _VECTORS = (16, 4) if _FEATURES.get("avx512f") else (8, 2) if _FEATURES.get("avx2") else (4, 2)
ROWS = 6
_CHUNK = np.int64(8 * ROWS)
WIDTH = _LANES * _VECTORS

#: Most columns that are computed one by one, since a panel would be mostly padding.
_FEW = 12

#: What is read of numbers x: themselves, of any sign or none below 0; x²; or (1 - x)(1 + x). Here and below NumPy's
#: integers, since Numba would compile a function anew for every constant of Python's that it is called with.
VALUES, POSITIVES, SQUARES, VARIANCES = np.int64(0), np.int64(1), np.int64(2), np.int64(3)

#: How a right-hand factor is given; the stride of neighbours; the first row.
AS_IS, TRANSPOSED = np.int64(0), np.int64(1)
NEXT, FIRST = np.int64(1), np.int64(0)

#: Most units, and most samples, of which panels are made at once: these stay in the second-level cache.
BLOCK, SAMPLES = np.int64(1024), np.int64(256)

_VECTOR = ir.VectorType(ir.FloatType(), _LANES)
_INDEX = ir.IntType(64)
_INT32 = ir.IntType(32)

compiled: Callable[..., Any] = njit(part=True, error_model="numpy", fastmath=FAST)
inlined: Callable[..., Any] = njit(part=True, error_model="numpy", fastmath=FAST, forceinline=True)

#: Sums may be reordered: that is what lets them run in vector registers.
summing: Callable[..., Any] = njit(part=True, error_model="numpy", fastmath=FAST | {"reassoc"})


def _tile(rows: int) -> Callable[..., None]:
    """Return a function that computes ``rows`` × WIDTH numbers,

    out[to + r·width + v] = Σ_{p < depth} left[first + r·row + p·step] panels[at + p·WIDTH + v],

    of contiguous arrays: (left, first, row, step, panels, at, depth, out, to, width).
    """

    def typed(
        typingctx: Any,
        left: Any,
        first: Any,
        row: Any,
        step: Any,
        panels: Any,
        at: Any,
        depth: Any,
        out: Any,
        to: Any,
        width: Any,
    ) -> Any:
        n = types.int64
        signature = types.void(left, n, n, n, panels, n, n, out, n, n)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def pointer(position: int, offset: Any) -> Any:
                array = context.make_array(signature.args[position])(context, builder, args[position])
                return builder.gep(array.data, [offset])

            _, first, row, step, _, at, depth, _, to, width = args
            _generate(builder, rows, pointer(0, first), row, step, pointer(4, at), depth, pointer(7, to), width)
            return context.get_dummy_value()

        return signature, generate

    return cast(Callable[..., None], intrinsic(typed))


def _generate(
    builder: Any, rows: int, left: Any, row: Any, step: Any, panel: Any, depth: Any, out: Any, width: Any
) -> None:
    """The loop over the depth, with an accumulator for each row and vector."""
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{_LANES}f32"
    )
    # for p in range(depth): the blocks of the loop, and the values that it carries.
    offsets = [builder.mul(_INDEX(r), row) for r in range(rows)]
    entry = builder.block
    loop, done = builder.append_basic_block("depth"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)

    def carried(kind: Any, start: Any) -> Any:
        value = builder.phi(kind)
        value.add_incoming(start, entry)
        return value

    p, l, b = carried(_INDEX, _INDEX(0)), carried(left.type, left), carried(panel.type, panel)  # noqa: E741
    sums = [carried(_VECTOR, ir.Constant(_VECTOR, [0.0] * _LANES)) for _ in range(rows * _VECTORS)]
    # sums[r][v] += left[first + r·row + p·step] panel[p][v], one load of each vector for all rows.
    vectors = [builder.load(_vector_at(builder, b, v), align=4) for v in range(_VECTORS)]
    new = []
    for r in range(rows):
        factor = _broadcast(builder, builder.load(builder.gep(l, [offsets[r]])))
        new += [builder.call(fma, [factor, vectors[v], sums[r * _VECTORS + v]]) for v in range(_VECTORS)]
    # Step to the next p.
    steps = (p, builder.add(p, _INDEX(1))), (l, builder.gep(l, [step])), (b, builder.gep(b, [_INDEX(WIDTH)]))
    for value, following in (*steps, *zip(sums, new, strict=True)):
        value.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", steps[0][1], depth), loop, done)
    # Store the sums.
    builder.position_at_end(done)
    for r in range(rows):
        target = builder.gep(out, [builder.mul(_INDEX(r), width)])
        for v in range(_VECTORS):
            builder.store(new[r * _VECTORS + v], _vector_at(builder, target, v), align=4)


def _vector_at(builder: Any, pointer: Any, v: int) -> Any:
    return builder.bitcast(builder.gep(pointer, [_INDEX(v * _LANES)]), _VECTOR.as_pointer())


def _broadcast(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, _INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT32, _LANES), [0] * _LANES))


_tile_of_rows, _tile_of_row = _tile(ROWS), _tile(1)


@compiled
def panels_of(right, given, kind, start, stop):
    """The panels of columns start..stop of an array, which is a right-hand factor ``AS_IS`` or ``TRANSPOSED``.

    Its values or squares. The factor is (depth, columns): of a transposed array, start..stop is part of the depth.
    """
    transposed = given == TRANSPOSED
    depth, columns = (stop - start, right.shape[0]) if transposed else (right.shape[0], stop - start)
    whole = 1 if columns <= _FEW else WIDTH
    panels = np.empty(((columns + whole - 1) // whole, depth, whole), np.float32)
    # Panel j holds ``whole`` columns, depth by depth, the last one padded with zeros.
    for j in range(panels.shape[0]):
        width = min(whole, columns - j * whole)
        for p in range(depth):
            for v in range(width):
                c = j * whole + v
                value = right[c, start + p] if transposed else right[p, start + c]
                panels[j, p, v] = value * value if kind == SQUARES else value
            for v in range(width, whole):
                panels[j, p, v] = f32(0.0)
    return panels


@compiled
def rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column):
    """Rows start..stop of a product into ``out``, from its row ``to`` and its ``column`` on.

    ``left`` is read at k·row + p·step, one of which is 1: its values, of any sign or not, or variances. ``panels`` are
    of the depth from ``begin`` on; unless that is 0, the product is added to what ``out`` holds.
    """
    if kind != VARIANCES:
        _rows(left, start, stop, row, step, begin, panels, out, to, column, begin > 0)
        return
    # Variances 1 - m² are made a chunk of rows at a time, in the layout that the means have.
    depth = panels.shape[1]
    by_rows = step == 1 and begin + depth <= left.shape[1]  # both strides of a single column are 1
    shape = (_CHUNK, depth) if by_rows else (depth, _CHUNK)
    chunk = np.empty(shape, np.float32)
    for first in range(start, stop, _CHUNK):
        last = min(first + _CHUNK, stop)
        source = left[first:last, begin : begin + depth] if by_rows else left[begin : begin + depth, first:last]
        for i in range(source.shape[0]):
            _variances(source[i], chunk[i])
        strides = (depth, NEXT) if by_rows else (NEXT, _CHUNK)
        _rows(chunk, FIRST, last - first, *strides, FIRST, panels, out, to + first - start, column, begin > 0)


@inlined
def _variances(means, out):
    for i in range(means.shape[0]):
        out[i] = (f32(1.0) - means[i]) * (f32(1.0) + means[i])


@compiled
def _rows(left, start, stop, row, step, begin, panels, out, to, column, more):
    """``rows_of_product`` of the numbers themselves, added to ``out`` for ``more``."""
    count, depth = panels.shape[0], panels.shape[1]
    # Few columns: one after the other, without padding.
    if panels.shape[2] == 1:
        for j in range(count):
            factors, values = panels[j].reshape(-1), out[to : to + stop - start, column + j]
            _column(left.reshape(-1), start, row, step, begin, factors, values, more)
        return
    size = depth * WIDTH
    strip = np.empty((ROWS, count * WIDTH), np.float32)
    width = strip.shape[1]
    # ROWS rows of all panels into a strip; the last ones, if fewer, together with rows that are there already.
    for k in range(start, stop, ROWS):
        base = k if stop - start < ROWS else min(k, stop - ROWS)
        for j in range(count):
            if stop - start < ROWS:
                for r in range(stop - start):
                    at, place = (start + r) * row + begin * step, r * width + j * WIDTH
                    _tile_of_row(left, at, row, step, panels, j * size, depth, strip, place, width)
            else:
                at = base * row + begin * step
                _tile_of_rows(left, at, row, step, panels, j * size, depth, strip, j * WIDTH, width)
        # The new rows of the strip, without the padding, to their place.
        for r in range(min(ROWS, stop - k)):
            put(strip[k - base + r], out[to + k - start + r, column : column + width], more)


@summing
def _column(left, start, row, step, begin, factors, out, more):
    """A column of ``rows_of_product``: sums along the rows of ``left``, or of its rows times a factor each."""
    sums = np.zeros(out.shape[0], np.float32)
    # Along the rows where these are contiguous, else a row times a factor at a time.
    if step == 1:
        for k in range(out.shape[0]):
            source, total = left[(start + k) * row + begin :], f32(0.0)
            for p in range(factors.shape[0]):
                total += source[p] * factors[p]
            sums[k] = total
    else:
        for p in range(factors.shape[0]):
            source, factor = left[(begin + p) * step + start :], factors[p]
            for k in range(out.shape[0]):
                sums[k] += source[k] * factor
    put(sums, out, more)


@inlined
def put(values, out, more):
    """The first of ``values`` into ``out``, added to what it holds for ``more``."""
    if more:
        for j in range(out.shape[0]):
            out[j] += values[j]
    else:
        for j in range(out.shape[0]):
            out[j] = values[j]
