"""Numba's ``njit`` with compiled code kept on disk so that nothing that happens there can break a call.

Numba's own cache raises an error at import where no folder can be written to, ends in the traceback of a file that was
cut off, and mixes up functions that two processes save at the same time. Here all versions of a function are one file,
replaced as a whole, which counts only if its checksum is right; without a folder, code is compiled in every process.
"""

import contextlib
import hashlib
import logging
import os
import pickle
import uuid
import warnings
from collections.abc import Callable
from functools import cache as once
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numba.core.config
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps
from numba.core.types import unliteral

from factorgraph.interface.errors import CavityWarning
from factorgraph.runtime.parts import PartCompiler, keep_from_python
from factorgraph.runtime.threads import guard_parallel_loops
from factorgraph.runtime.uncompiled import use_ieee_math

#: Whether NUMBA_DISABLE_JIT keeps functions as they are.
DISABLED = bool(vars(numba.core.config)["DISABLE_JIT"])

#: Of every function: without the first two, it would take them from the caller that is compiled first, whichever it is;
#: the last is for callers in C, of which there are none.
_OPTIONS = {"fastmath": False, "forceinline": False, "no_cfunc_wrapper": True}
_log = logging.getLogger(__name__)

_DIGEST = hashlib.sha256().digest_size

_warned = False


def njit(
    function: Callable[..., Any] | None = None,
    *,
    cache: bool = False,
    part: bool = False,
    shared: bool = False,
    **options: Any,
) -> Any:
    """As ``numba.njit``, with another cache on disk.

    Args:
        function: to compile, or what the decorator returned is applied to.
        cache: keep what is compiled on disk.
        part: it is only called from compiled functions, and a part of them.
        shared: it runs shared loops, behind a guard.
        options: further ones of ``numba.njit``.
    """
    if function is None:
        return lambda f: njit(f, cache=cache, part=part, shared=shared, **options)
    options = _OPTIONS | options | ({"pipeline_class": PartCompiler} if part else {})
    compiled: Any = numba.njit(**options)(function)
    if compiled is function:  # with NUMBA_DISABLE_JIT
        use_ieee_math(function)
        return compiled
    _forget_constants(compiled)
    if part:
        keep_from_python(compiled)
    elif cache:
        compiled._cache = CompiledCode(function, shared=shared)
    return compiled


def _forget_constants(function: Any) -> None:
    """Let compiled callers find one version for all numbers: Numba would compile one for every constant."""
    template = function.get_call_template

    def of_types(args: Any, kws: Any) -> Any:
        return template([unliteral(a) for a in args], {name: unliteral(a) for name, a in kws.items()})

    function.get_call_template = of_types


class CompiledCode(FunctionCache):
    """The versions of a function on disk; the folder is looked for when the first one is needed."""

    def __init__(self, function: Callable[..., Any], *, shared: bool = False) -> None:
        self._py_func = function
        self._shared = shared
        self._name = repr(function)
        self.enable()

    @cached_property
    def _impl(self) -> CompileResultCacheImpl | None:
        """In Numba's choice of a folder: NUMBA_CACHE_DIR, beside the source, the user's; None if none is writable."""
        try:
            return CompileResultCacheImpl(self._py_func)
        except (OSError, RuntimeError):
            _warn("there is no folder for it")
            return None

    @cached_property
    def _cache_file(self) -> "CodeFile":
        assert self._impl is not None
        locator = self._impl.locator
        stamp = repr((numba.__version__, llvmlite.__version__, _our_version(), locator.get_source_stamp()))
        return CodeFile(Path(locator.get_cache_path()) / f"{self._impl.filename_base}.cavity", stamp.encode())

    @property
    def cache_path(self) -> str | None:
        """The folder; None if there is none."""
        return None if self._impl is None else self._impl.locator.get_cache_path()

    def has(self, sig: Any, target_context: Any) -> bool:
        """Return whether the version of a signature is there."""
        return self._impl is not None and self._index_key(sig, target_context.codegen()) in self._cache_file

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled version of a signature; None if it is not there. Comes before all compiling and
        loading."""
        if self._shared:
            guard_parallel_loops()
        return None if self._impl is None else super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled version, if that is possible."""
        _log.info("compiled %s.%s", self._py_func.__module__, self._py_func.__qualname__)
        if self._impl is None:
            return
        try:
            super().save_overload(sig, data)
        except OSError as error:
            if not (os.name == "nt" and isinstance(error, PermissionError)):  # another process is reading the file
                _warn(str(error))

    def flush(self) -> None:
        """Forget all versions."""
        if self._impl is not None:
            self._cache_file.flush()


class CodeFile:
    """A dictionary of pickled objects in a file: a checksum of stamp and content, then the content.

    Whatever is not as it was written, or was written under another stamp, is as good as absent. Of two processes that
    save at the same time, one may lose what it saved, which is then compiled again.
    """

    def __init__(self, path: Path, stamp: bytes) -> None:
        self._path = path
        self._stamp = stamp

    def __contains__(self, key: Any) -> bool:
        return key in self._read()

    def load(self, key: Any) -> Any:
        """Return the object saved under ``key``; None if there is none."""
        data = self._read().get(key)
        return None if data is None else pickle.loads(data)

    def save(self, key: Any, data: Any) -> None:
        """Add an object, or replace it."""
        self._write(self._read() | {key: dumps(data)})

    def flush(self) -> None:
        """Remove all objects."""
        self._write({})

    def _read(self) -> dict[Any, bytes]:
        try:
            content = self._path.read_bytes()
        except OSError:
            return {}
        digest, content = content[:_DIGEST], content[_DIGEST:]
        return pickle.loads(content) if digest == self._digest(content) else {}

    def _write(self, entries: dict[Any, bytes]) -> None:
        content = dumps(entries)
        new = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex[:16]}.tmp")
        try:
            with new.open("xb") as file:
                file.write(self._digest(content) + content)
            new.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self._stamp + b"\0" + content).digest()


@once
def _our_version() -> str:
    """Return a new version may change functions that an unchanged one calls."""
    try:
        return version("cavity")
    except PackageNotFoundError:
        return ""


def _warn(reason: str) -> None:
    """Once in a process."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiled code cannot be kept on disk ({reason}), so that every process compiles it anew, which takes "
            "seconds to minutes; set NUMBA_CACHE_DIR to a folder that can be written to",
            CavityWarning,
            stacklevel=2,
        )
