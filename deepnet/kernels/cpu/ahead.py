"""The compiled loops that training calls, known from the settings: so that they are compiled before, side by side."""

from collections.abc import Callable
from typing import Any

from numba import types

from deepnet.config import Config
from deepnet.kernels.cpu import fused_loops as loops
from deepnet.kernels.cpu import products, series
from deepnet.kernels.support import REACTIONS
from factorgraph.runtime.ahead import Version, compile_ahead
from factorgraph.runtime.compiled import DISABLED

_FLOAT, _INTEGER = types.float32, types.int64

#: Types of arguments by letter: arrays of one to three axes, of float32 (v, m, c), int64 (l, e) or int8 (t, s), and
#: scalars, of float32 (f), int64 (n) or bool (b).
_TYPES: dict[str, Any] = {"f": _FLOAT, "n": _INTEGER, "b": types.boolean}
_TYPES |= {name: types.Array(_FLOAT, axes, "C") for axes, name in enumerate("vmc", 1)}
_TYPES |= {name: types.Array(_INTEGER, axes, "C") for axes, name in enumerate("le", 1)}
_TYPES |= {name: types.Array(types.int8, axes, "C") for axes, name in enumerate("ts", 1)}

#: Of the layers of sign units and ±1 weights with fused loops; every network has one, its last.
_FUSED = {
    loops._send_and_receive: "mmm b mmm ffff c b n",
    loops.preactivations: "mmm f mmmm b n",
    loops.argmax_derivatives: "l mmmm",
    loops._sum_of_parts: "c mmmmm n",
    loops.sign_derivatives: "mmmmm n",
    loops.gather: "m l m n",
}

#: Of those whose messages are sums of a series, besides.
_SERIES = {
    products._outer_by_library: "mmm n",
    series._add_edges: "e mmmmmmm n",
    loops.free_sign_moments: "mmmm n",
    loops.update_spins: "mmmm ffff n",
    series._clear: "c st n",
    series._horner: "vvv n",
    series._multiply: "vv n",
    series._expand: "mmm vv c st n",
    products._product: "m nn mm n b n",
}


def versions(config: Config) -> list[Version]:
    """Return the functions that training with these settings calls, with their types; none where NumPy computes.

    What a network needs beyond them is compiled when it is called.
    """
    closures = _values(config.closure)
    signs = _values(config.weights) == {"binary"} and _values(config.activation) == {"sign"}
    dense = signs and _values(config.density) == {1.0}
    if DISABLED or config.baseline is not None or config.dtype != "float32" or not dense:
        return []
    table = _FUSED if closures <= REACTIONS.keys() else _FUSED | _SERIES
    return [(function, tuple(_TYPES[letter] for letter in text if letter != " ")) for function, text in table.items()]


def _values(setting: Any) -> set[Any]:
    """Return the values that layers have."""
    return set(setting) if isinstance(setting, tuple) else {setting}


def prepare(config: Config, progress: Callable[[int, int], None] | None = None) -> None:
    """Compile them, unless they are on disk, by several processes.

    Args:
        config: settings of the network.
        progress: as of ``compile_ahead``.
    """
    compile_ahead(versions(config), progress)
