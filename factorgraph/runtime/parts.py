"""Compiled functions that are parts of others: never called from Python, and no machine code by themselves.

Numba makes machine code of every function for three callers, of which only compiled code is one here, and again within
every function that calls it. A part is optimised and becomes machine code there alone.
"""

from collections.abc import Callable
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class PartCompiler(Compiler):
    """Numba's compiler of functions, for ``pipeline_class``, of a part."""

    def __init__(
        self, typingctx: Any, targetctx: Any, library: Any, args: Any, return_type: Any, flags: Any, locals: Any
    ) -> None:
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        library = _Part(targetctx.codegen(), "part")
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        """Return the part, which callers find by what stands for it in Python."""

        def stand_in(*arguments: Any) -> None:
            raise TypeError(f"{func.__qualname__} is a part of compiled functions, not to be called from Python")

        compiled = super().compile_extra(func)._replace(entry_point=stand_in)
        compiled.target_context.insert_user_function(stand_in, compiled.fndesc, [compiled.library])
        return compiled


class _Part(JITCodeLibrary):
    """Code that is linked into other libraries as it is."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def keep_from_python(dispatcher: Any) -> None:
    """Let the versions of a function be known to compiled code alone."""

    def add_overload(compiled: Any) -> None:
        dispatcher.overloads[tuple(compiled.signature.args)] = compiled

    dispatcher.add_overload = add_overload
