"""Parallel loops in forked processes, and from several threads at once.

All of Numba's parallel loops are handed to one function of its threading layer. GNU's OpenMP kills a process forked
from one in which it has run, and the work queue one in which two threads hand it a loop at the same time. Here a
function is put in front that runs such a loop in the calling thread instead. Results do not change by that: the loops
of this project divide their work by a number that they are given, whoever does it.
"""

import ctypes
import os
from collections.abc import Sequence
from functools import cache as once
from typing import Any

import numba
from llvmlite import binding, ir
from numba.np.ufunc.parallel import threading_layer

#: The name under which compiled code finds the function that runs parallel loops, as
#: (body, arguments, dimensions, steps, data, inner dimensions, number of arguments, threads).
PARALLEL_FOR = "numba_parallel_for"

_INT = ir.IntType(32)
_SIZE = ir.IntType(8 * ctypes.sizeof(ctypes.c_size_t))
_POINTER = ir.IntType(8).as_pointer()

#: Whether the threads stayed behind in a parent process, and whether the layer has a loop at hand.
_forked, _busy = ctypes.c_int32(0), ctypes.c_int32(0)


@once
def guard_parallel_loops() -> Any:
    """Start the threading layer behind the guard; parallel loops compiled or loaded before this have none."""
    numba.get_num_threads()  # starts the layer, whose function then has an address
    layer = binding.address_of_symbol(PARALLEL_FOR)
    module = binding.parse_assembly(str(_guard(layer, one_by_one=threading_layer() == "workqueue")))
    engine = binding.create_mcjit_compiler(module, binding.Target.from_default_triple().create_target_machine())
    engine.finalize_object()
    binding.add_symbol(PARALLEL_FOR, engine.get_function_address("guard"))
    return engine  # which owns the code, and is to live as long as the process


def _guard(layer: int, *, one_by_one: bool) -> ir.Module:
    """Return code that hands a loop to the function at address ``layer``, or runs it."""
    module = ir.Module("guard")
    signature = ir.FunctionType(ir.VoidType(), [_POINTER] * 5 + [_SIZE] * 3)
    function = ir.Function(module, signature, "guard")
    builder = ir.IRBuilder(function.append_basic_block())
    zero, one = ir.Constant(_INT, 0), ir.Constant(_INT, 1)
    forked, busy = (
        builder.inttoptr(ir.Constant(_SIZE, ctypes.addressof(flag)), _INT.as_pointer()) for flag in (_forked, _busy)
    )
    body, *rest = function.args
    with builder.if_then(builder.icmp_signed("!=", builder.load_atomic(forked, "monotonic", 4), zero)):
        _run_here(builder, body, rest)
    if one_by_one:
        free = builder.extract_value(builder.cmpxchg(busy, zero, one, "acquire", "monotonic"), 1)
        with builder.if_then(builder.not_(free)):
            _run_here(builder, body, rest)
    builder.call(builder.inttoptr(ir.Constant(_SIZE, layer), signature.as_pointer()), function.args)
    if one_by_one:
        builder.store_atomic(zero, busy, "release", 4)
    builder.ret_void()
    return module


def _run_here(builder: ir.IRBuilder, body: ir.Value, arguments: Sequence[ir.Value]) -> None:
    """The body does the whole of the first dimension, of which the layer gives each thread a part."""
    signature = ir.FunctionType(ir.VoidType(), [_POINTER] * 4)
    builder.call(builder.bitcast(body, signature.as_pointer()), arguments[:4])
    builder.ret_void()


def _after_fork() -> None:
    """Only the thread that forked is in the new process; a layer not yet started will start its threads there."""
    try:
        threading_layer()
    except ValueError:
        return
    _forked.value, _busy.value = 1, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
