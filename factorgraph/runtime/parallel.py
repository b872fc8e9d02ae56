"""Loops shared by threads, of which a compiled function is the part that one thread does.

Numba's own ``parallel=True`` compiles the body of such a loop four times: as a function, as a generalized ufunc of it,
as what a thread calls, and as part of the function around the loop. Here it is compiled once, into the function that
hands it to the threads, and with no search for what could be parallel.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature as parameters_of
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, compiler
from numba.core.typing.templates import signature
from numba.extending import intrinsic

from factorgraph.runtime.compiled import DISABLED, njit
from factorgraph.runtime.parts import PartCompiler
from factorgraph.runtime.threads import PARALLEL_FOR

_BYTE_POINTER = ir.IntType(8).as_pointer()


def shared(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a function whose last parameters are ``thread`` and ``threads``: the part of one of the threads.

    It is called without ``thread``, and does all parts, side by side. Nothing that a part writes may be read by
    another one, and no two array arguments may overlap where one of them is written.

    Args:
        options: of ``njit``.
    """
    return lambda part: one_by_one(part) if DISABLED else _compiled(part, options)


def one_by_one(part: Callable[..., None]) -> Callable[..., None]:
    """Return the function without a compiler and threads."""

    @wraps(part)
    def whole(*arguments: Any) -> None:
        *given, threads = arguments
        for thread in range(threads):
            part(*given, thread, threads)

    return whole


def _compiled(part: Callable[..., None], options: dict[str, Any]) -> Callable[..., None]:
    """Return the function around the loop, which is in the place of ``part`` for the cache, and for errors."""
    *given, _, threads = parameters_of(part).parameters
    code = part.__code__
    all_given = ", ".join([*given, threads])
    text = "\n" * (code.co_firstlineno - 1) + f"def {part.__name__}({all_given}): each(({all_given},))"
    names = {"each": _each(part, options), "__name__": part.__module__}
    exec(compile(text, code.co_filename, "exec"), names)
    whole = wraps(part)(names[part.__name__])
    del whole.__wrapped__  # Numba would take its parameters
    compiled = njit(cache=True, shared=True, nogil=True)(whole)
    compiled.__wrapped__ = part
    return compiled


def _each(part: Callable[..., None], options: dict[str, Any]) -> Callable[..., None]:
    """Return a function for compiled code, of a tuple of the arguments and the number of threads."""

    def typed(typingctx: Any, arguments: Any) -> Any:
        own = signature(types.none, *arguments.types[:-1], types.intp, types.intp)

        def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
            flags = compiler.Flags()
            for name, value in ({"nrt": True, "noalias": True} | options).items():
                setattr(flags, name, value)
            compiled = compiler.compile_extra(
                context.typing_context, context, part, own.args, own.return_type, flags, {}, pipeline_class=PartCompiler
            )
            context.active_code_library.add_linking_library(compiled.library)
            _emit(context, builder, compiled.fndesc, own, values[0])
            return context.get_dummy_value()

        return types.void(arguments), generate

    return intrinsic(typed)


def _emit(context: Any, builder: Any, part: Any, own: Any, arguments: Any) -> None:
    """Hand the loop to the threading layer; raise an error if a part has failed."""
    threads = builder.extract_value(arguments, len(own.args) - 2)
    size = threads.type
    # What all parts see: their arguments, and whether one has failed.
    data = cgutils.alloca_once_value(builder, arguments)
    failed = cgutils.alloca_once_value(builder, ir.IntType(32)(0))
    common = cgutils.pack_array(builder, [builder.bitcast(p, _BYTE_POINTER) for p in (data, failed)])
    kernel = _kernel(context, builder, part, own, data.type, size)
    # The layer adds the step, 1, to the only argument, a null pointer, for each iteration: that is its number.
    first, step = cgutils.alloca_once_value(builder, _BYTE_POINTER(None)), cgutils.alloca_once_value(builder, size(1))
    given = [kernel, first, cgutils.alloca_once_value(builder, threads), step]
    given.append(cgutils.alloca_once_value(builder, common))
    layer_type = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER] * 5 + [size] * 3)
    layer = cgutils.get_or_insert_function(builder.module, layer_type, PARALLEL_FOR)
    count = cgutils.get_or_insert_function(builder.module, ir.FunctionType(size, []), "get_num_threads")
    pointers = [builder.bitcast(pointer, _BYTE_POINTER) for pointer in given]
    builder.call(layer, [*pointers, size(0), size(1), builder.call(count, [])])
    with builder.if_then(cgutils.is_not_null(builder, builder.load(failed)), likely=False):
        context.call_conv.return_user_exc(builder, MemoryError, ("no memory for a part of a shared loop",))


def _kernel(context: Any, builder: Any, part: Any, own: Any, data: Any, size: Any) -> Any:
    """The function that the layer calls for some iterations, with (arguments, dimensions, steps, data)."""
    kind = ir.FunctionType(
        ir.VoidType(), [_BYTE_POINTER.as_pointer(), size.as_pointer(), size.as_pointer(), _BYTE_POINTER]
    )
    kernel = ir.Function(builder.module, kind, builder.module.get_unique_name(f"{part.mangled_name}.kernel"))
    kernel.linkage = "internal"
    inner = ir.IRBuilder(kernel.append_basic_block())
    numbers, dimensions, _, common = kernel.args
    pointers = inner.load(inner.bitcast(common, ir.ArrayType(_BYTE_POINTER, 2).as_pointer()))
    arguments = inner.load(inner.bitcast(inner.extract_value(pointers, 0), data))
    failed = inner.bitcast(inner.extract_value(pointers, 1), ir.IntType(32).as_pointer())
    threads = inner.extract_value(arguments, len(own.args) - 2)
    first = inner.ptrtoint(inner.load(numbers), size)
    with cgutils.for_range(inner, inner.load(dimensions)) as loop:
        values = [
            _borrowed(context, inner, kind_of, inner.extract_value(arguments, i))
            for i, kind_of in enumerate(own.args[:-2])
        ]
        status, _ = context.call_internal_no_propagate(
            inner, part, own, [*values, inner.add(first, loop.index), threads]
        )
        with inner.if_then(status.is_error, likely=False):
            inner.store_atomic(ir.IntType(32)(1), failed, "monotonic", 4)
    inner.ret_void()
    return kernel


def _borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return an array without its owner, who is kept by the caller: threads that counted references to it would write
    to one place, and wait for each other there."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()
