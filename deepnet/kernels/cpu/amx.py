"""Float32 matrix products on AMX, where the processor has it: the same interface as ``deepnet.kernels.cpu.tile``.

AMX multiplies tiles of bfloat16, numbers of 8 bits, and adds up in float32. A float32 number is split into two
of them and a rest, x = h + l + O(2^-18 x); three products, h·h + h·l + l·h, leave an error of some 2^-18 of each term,
4e-6 of the sum as a rule, and take half the time of float32 instructions. Where no term is negative, as in variances,
nothing cancels, and h·h alone has a relative error of at most 2^-8, 1e-4 as a rule: these sums are the widths of
Gaussians that stand for sums of some hundred terms, and need no more.

A tile of the left-hand factor holds 16 rows × 16 pairs of neighbours along the depth, a tile of the right-hand factor
16 such pairs × 16 columns; pairs are kept in 32 bits. Every block of 16 × 32 numbers becomes a tile of h and one of l.
"""

import ctypes
import platform
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

from deepnet.kernels.cpu.tile import AS_IS, FIRST, SQUARES, TRANSPOSED, VALUES, VARIANCES, put
from factorgraph.runtime.compiled import njit

#: Rows, pairs and columns of a tile; numbers in a pair of tiles; rows and columns computed at once, two tiles each.
_SIDE = 16
_PAIR = 2 * _SIDE * _SIDE
ROWS = WIDTH = 2 * _SIDE

_XTILEDATA = 18
_ARCH_REQ_XCOMP_PERM = 0x1023
_SYS_ARCH_PRCTL = 158

_BYTE, _INDEX, _VOID = ir.IntType(8), ir.IntType(64), ir.VoidType()
_POINTER = _BYTE.as_pointer()


def _compiled() -> bool:
    """Return whether Numba compiles for a processor with AMX."""
    features = binding.get_host_cpu_features()
    native = not (getattr(config, "CPU_NAME", None) or getattr(config, "CPU_FEATURES", None))
    return native and platform.system() == "Linux" and all(features.get(name) for name in ("amx-tile", "amx-bf16"))


def _permitted() -> bool:
    """Ask Linux to save the registers of AMX, without which its instructions are not allowed."""
    return ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA) == 0


#: Whether compiled code has its instructions.
COMPILED = _compiled()

#: Whether this process may use AMX.
AVAILABLE = COMPILED and _permitted()


def _tile_configuration() -> np.ndarray:
    """Palette 1: eight tiles of 16 rows of 64 bytes."""
    layout = np.zeros(64, np.uint8)
    layout[0] = 1
    layout[16:32:2] = 64
    layout[48:56] = _SIDE
    return layout


_CONFIGURATION = _tile_configuration()


# --- instructions -----------------------------------------------------------------------------------------------------


def _instruction(builder: Any, name: str, *args: Any) -> None:
    """Call one of LLVM's intrinsic functions for AMX."""
    name = f"llvm.x86.{name}"
    module = builder.module
    known = module.globals.get(name) or ir.Function(module, ir.FunctionType(_VOID, [a.type for a in args]), name)
    builder.call(known, args)


def _code(emit: Callable[..., None]) -> Callable[..., Any]:
    """Return the code of a function without a result; no code where Numba compiles for a processor without AMX."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if COMPILED:
            emit(context, builder, signature, args)
        return context.get_dummy_value()

    return generate


def _address(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _POINTER)


@cast(Callable[..., Any], intrinsic)
def _configure(typingctx: Any, layout: Any) -> Any:
    """Set up the tiles of this thread."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> None:
        _instruction(builder, "ldtilecfg", _address(context, builder, layout, args[0], _INDEX(0)))

    return types.void(layout), _code(emit)


@cast(Callable[..., Any], intrinsic)
def _release(typingctx: Any) -> Any:
    """Leave AMX in its initial state, which costs nothing to save."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> None:
        _instruction(builder, "tilerelease")

    return types.void(), _code(emit)


@cast(Callable[..., Any], intrinsic)
def _multiply(
    typingctx: Any, left: Any, right: Any, at: Any, depth: Any, kind: Any, out: Any, to: Any, width: Any
) -> Any:
    """ROWS × WIDTH numbers of a product into ``out``, from its number ``to`` on, with ``width`` numbers a row.

    ``left`` holds two rows of ``depth`` pairs of tiles, ``right`` two columns of them from its number ``at`` on;
    ``kind`` is of the left-hand factor, and VALUES if and only if the other one's is.
    """
    n = types.int64

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> None:
        left_at = _address(context, builder, left, args[0], _INDEX(0))
        right_at = _address(context, builder, right, args[1], args[2])
        target = _address(context, builder, out, args[5], args[6])
        with builder.if_else(_is(builder, args[4], VALUES)) as (values, positives):
            for branch, split in ((values, True), (positives, False)):
                with branch:
                    _emit_product(builder, left_at, right_at, args[3], target, builder.mul(args[7], _INDEX(4)), split)

    return types.void(left, right, n, n, n, out, n, n), _code(emit)


def _is(builder: Any, kind: Any, constant: Any) -> Any:
    return builder.icmp_signed("==", kind, _INDEX(int(constant)))


def _emit_product(builder: Any, left: Any, right: Any, depth: Any, out: Any, stride: Any, split: bool) -> None:
    """Tiles 0 to 3 add up, 4 and 5 hold left-hand factors, 6 and 7 right-hand ones; both halves if they are split."""
    # Bytes from h to l, and from one pair of tiles to the next.
    half, whole = _INDEX(2 * _PAIR), _INDEX(4 * _PAIR)
    for tile in range(4):
        _instruction(builder, "tilezero", _BYTE(tile))
    # for p in range(depth): the blocks of the loop, and the values that it carries.
    entry = builder.block
    loop, done = builder.append_basic_block("depth"), builder.append_basic_block("done")
    other = builder.mul(depth, whole)
    builder.branch(loop)
    builder.position_at_end(loop)
    p, l, r = builder.phi(_INDEX), builder.phi(_POINTER), builder.phi(_POINTER)  # noqa: E741
    p.add_incoming(_INDEX(0), entry)
    l.add_incoming(left, entry)
    r.add_incoming(right, entry)

    def load(first_tile: int, pointer: Any, *, low: bool) -> None:
        for i, at in enumerate((pointer, builder.gep(pointer, [other]))):
            at = builder.gep(at, [half]) if low else at
            _instruction(builder, "tileloadd64", _BYTE(first_tile + i), at, _INDEX(4 * _SIDE))

    def add_products() -> None:
        for i in range(2):
            for j in range(2):
                _instruction(builder, "tdpbf16ps", _BYTE(2 * i + j), _BYTE(4 + i), _BYTE(6 + j))

    # l·h, h·h, and with the low halves on the right h·l.
    load(6, r, low=False)
    if split:
        load(4, l, low=True)
        add_products()
    load(4, l, low=False)
    add_products()
    if split:
        load(6, r, low=True)
        add_products()
    # Step to the next pair of tiles.
    following = builder.add(p, _INDEX(1))
    p.add_incoming(following, loop)
    l.add_incoming(builder.gep(l, [whole]), loop)
    r.add_incoming(builder.gep(r, [whole]), loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    # Store the four tiles of sums.
    builder.position_at_end(done)
    for i in range(2):
        for j in range(2):
            row = builder.gep(out, [builder.mul(_INDEX(_SIDE * i), stride)])
            _instruction(builder, "tilestored64", _BYTE(2 * i + j), builder.gep(row, [_INDEX(4 * _SIDE * j)]), stride)


# --- tiles ------------------------------------------------------------------------------------------------------------


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_LINE, _PAIRS = ir.VectorType(ir.FloatType(), _SIDE), ir.VectorType(ir.IntType(32), _SIDE)
_FLOATS, _BFLOATS = ir.VectorType(ir.FloatType(), 2 * _SIDE), ir.VectorType(_BFloat(), 2 * _SIDE)


def _lanes(lanes: Iterable[int]) -> Any:
    lanes = list(lanes)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


def _split(neighbours: bool) -> Callable[..., None]:
    """Return a function that writes h and l of 16 pairs (x, y): (values, at, step, kind, out, to).

    x starts at number ``at`` of ``values``, y at ``at + step``; pairs of ``neighbours`` alternate from ``at`` on. h is
    written from number ``to`` on, l, only for the kind VALUES, a tile later.
    """

    def typed(typingctx: Any, values: Any, at: Any, step: Any, kind: Any, out: Any, to: Any) -> Any:
        n = types.int64

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> None:
            source, target = (_address(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 4))

            def load(pointer: Any, kind: Any) -> Any:
                return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)

            # The 32 numbers, pairs side by side.
            if neighbours:
                x = load(source, _FLOATS)
            else:
                second = builder.gep(source, [builder.mul(args[2], _INDEX(4))])
                order = _lanes(k // 2 + _SIDE * (k % 2) for k in range(2 * _SIDE))
                x = builder.shuffle_vector(load(source, _LINE), load(second, _LINE), order)

            def store(x: Any, half: int) -> Any:
                rounded = builder.fptrunc(x, _BFLOATS)
                place = builder.gep(target, [_INDEX(half * 4 * _SIDE * _SIDE)])
                builder.store(rounded, builder.bitcast(place, _BFLOATS.as_pointer()), align=4)
                return builder.fsub(x, builder.fpext(rounded, _FLOATS))

            # h and l of values; h of squares or of variances (1 - x)(1 + x) where no sign is.
            one = ir.Constant(_FLOATS, [1.0] * 2 * _SIDE)
            with builder.if_else(_is(builder, args[3], VALUES)) as (values, positives):
                with values:
                    store(store(x, 0), 1)
                with positives:
                    variance, square = (_is(builder, args[3], kind) for kind in (VARIANCES, SQUARES))
                    first = builder.select(variance, builder.fsub(one, x), x)
                    second = builder.select(variance, builder.fadd(one, x), builder.select(square, x, one))
                    store(builder.fmul(first, second), 0)

        return types.void(values, n, n, n, out, n), _code(emit)

    return cast(Callable[..., None], intrinsic(typed))


_split_neighbours, _split_lines = _split(True), _split(False)


@cast(Callable[..., Any], intrinsic)
def _transpose(typingctx: Any, source: Any, from_: Any, out: Any, to: Any) -> Any:
    """A tile of 16 × 16 pairs with rows and columns exchanged."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> None:
        first, target = (_address(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2))

        def line(pointer: Any, i: int) -> Any:
            return builder.bitcast(builder.gep(pointer, [_INDEX(4 * _SIDE * i)]), _PAIRS.as_pointer())

        lines = [builder.load(line(first, i), align=4) for i in range(_SIDE)]
        width = _SIDE // 2
        while width:  # exchange the off-diagonal quarters of squares of 2·width
            low = _lanes(k if not k & width else k - width + _SIDE for k in range(_SIDE))
            high = _lanes(k + width if not k & width else k + _SIDE for k in range(_SIDE))
            for i in range(_SIDE):
                if not i & width:
                    pair = lines[i], lines[i + width]
                    lines[i], lines[i + width] = (builder.shuffle_vector(*pair, lanes) for lanes in (low, high))
            width //= 2
        for i in range(_SIDE):
            builder.store(lines[i], line(target, i), align=4)

    n = types.int64
    return types.void(source, n, out, n), _code(emit)


compiled: Callable[..., Any] = njit(part=True, error_model="numpy")
inlined: Callable[..., Any] = njit(part=True, error_model="numpy", forceinline=True)


@inlined
def _aligned(count, kind):
    """An array of ``count`` 32-bit numbers that begins with a cache line."""
    room = np.empty(count + _SIDE, kind)
    first = (-room.ctypes.data // 4) % _SIDE
    return room[first : first + count]


@compiled
def _pack(values, first, row, step, rows, depth, kind, tiles, to, given, block, scratch):
    """The pair of tiles from number ``to`` on, of rows × depth numbers at first + r·row + p·step, zero beyond.

    Only the first of the two unless ``kind`` is VALUES. ``given`` TRANSPOSED: pairs × rows. One of ``row`` and ``step``
    is 1; ``block`` and ``scratch`` are room to work in.
    """
    neighbours, flipped = step == 1, given == TRANSPOSED
    # A block at the edge is filled up with zeros.
    if rows < _SIDE or depth < 2 * _SIDE:
        block[:] = np.float32(0.0)
        for r in range(min(rows, _SIDE)):
            for p in range(min(depth, 2 * _SIDE)):
                block[r * 2 * _SIDE + p if neighbours else p * _SIDE + r] = values[first + r * row + p * step]
        values, first, row, step = block, 0, 2 * _SIDE, _SIDE
    # Pairs are split line by line along the contiguous axis; where that is the wrong one, they are transposed after.
    target, at = (scratch, 0) if neighbours == flipped else (tiles, to)
    for i in range(_SIDE):
        if neighbours:
            _split_neighbours(values, first + i * row, step, kind, target, at + i * _SIDE)
        else:
            _split_lines(values, first + 2 * i * step, step, kind, target, at + i * _SIDE)
    if neighbours == flipped:
        for half in range(2 if kind == VALUES else 1):
            _transpose(scratch, half * _SIDE * _SIDE, tiles, to + half * _SIDE * _SIDE)


@compiled
def panels_of(right, given, kind, start, stop):
    """Pack what ``deepnet.kernels.cpu.tile.panels_of`` does: two tiles of columns a panel, (panels, 2 steps, pair)."""
    transposed, length = given == TRANSPOSED, right.shape[1]
    depth, columns = (stop - start, right.shape[0]) if transposed else (right.shape[0], stop - start)
    row, step = (length, 1) if transposed else (1, length)
    steps = (depth + 2 * _SIDE - 1) // (2 * _SIDE)
    count = (columns + WIDTH - 1) // WIDTH
    panels = _aligned(count * 2 * steps * _PAIR, np.float32).reshape(count, 2 * steps, _PAIR)
    tiles, values = panels.view(np.uint32).reshape(-1), right.reshape(-1)
    block, scratch = _aligned(_PAIR, np.float32), _aligned(_PAIR, np.uint32)
    # Columns by sixteen, and along the depth pairs of tiles.
    to = FIRST
    for c in range(0, panels.shape[0] * WIDTH, _SIDE):
        for p in range(0, depth, 2 * _SIDE):
            at, count = start + c * row + p * step, min(_SIDE, columns - c)
            _pack(values, at, row, step, count, depth - p, kind, tiles, to, TRANSPOSED, block, scratch)
            to += _PAIR
    return panels


@compiled
def rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column):
    """Compute what ``deepnet.kernels.cpu.tile.rows_of_product`` does."""
    steps = panels.shape[1] // 2
    depth = (left.shape[1] if step == 1 else left.shape[0]) - begin
    values, tiles = left.reshape(-1), _aligned(2 * steps * _PAIR, np.uint32)
    block, scratch = _aligned(_PAIR, np.float32), _aligned(_PAIR, np.uint32)
    strip = _aligned(ROWS * panels.shape[0] * WIDTH, np.float32).reshape(ROWS, -1)
    _configure(_CONFIGURATION)
    for k in range(start, stop, ROWS):
        # Two rows of pairs of tiles of the left-hand factor.
        place = FIRST
        for first in (k, k + _SIDE):
            for p in range(0, 2 * _SIDE * steps, 2 * _SIDE):
                at, count = first * row + (begin + p) * step, min(_SIDE, stop - first)
                _pack(values, at, row, step, count, depth - p, kind, tiles, place, AS_IS, block, scratch)
                place += _PAIR
        # Times every panel, into a strip.
        for j in range(panels.shape[0]):
            _multiply(tiles, panels, 2 * j * steps * _PAIR, steps, kind, strip, j * WIDTH, strip.shape[1])
        # The rows that are no padding to their place.
        for r in range(min(ROWS, stop - k)):
            put(strip[r], out[to + k - start + r, column : column + strip.shape[1]], begin > 0)
    _release()
