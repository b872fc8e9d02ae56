"""Scalar bodies in Python to C++: the same formulas in CUDA kernels, written once.

A body is straight arithmetic on scalars: assignments, ``if``, ``for ... in range``, conditional expressions, tuples of
numbers, calls of ``math`` and of other bodies. Anything else is refused. The text is plain C++14, so that what a GPU is
to run can be compiled for the processor and compared there.
"""

import ast
import builtins
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: What every translation begins with. min and max keep Python's order of comparison: a first argument that is no number
#: stays, and is found when the run is checked.
PRELUDE = """\
#ifndef INFINITY
#define INFINITY __longlong_as_double(0x7ff0000000000000ll)
#endif
#ifndef NAN
#define NAN __longlong_as_double(0x7ff8000000000000ll)
#endif
template <class T, int N> struct Values { T v[N]; };
template <class T> __device__ inline T lesser(T a, T b) { return b < a ? b : a; }
template <class T> __device__ inline T greater(T a, T b) { return b > a ? b : a; }
template <class T> __device__ inline T squared(T a) { return a * a; }
"""

_FUNCTIONS: dict[Any, str] = {abs: "fabs", min: "lesser", max: "greater", int: "(int)", float: "(double)"}
_FUNCTIONS |= {np.float32: "(float)", np.float64: "(double)", np.sqrt: "sqrt"}
_MATH = "sqrt exp expm1 log log1p sinh cosh tanh asinh atanh erf erfc copysign isfinite floor".split()
_FUNCTIONS |= {getattr(math, name): name for name in _MATH}
_OPERATORS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.USub: "-", ast.Not: "!"}
_OPERATORS |= {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_OPERATORS |= {ast.And: "&&", ast.Or: "||"}


class TranslationError(ValueError):
    """A body that has no translation; the message names the function and the line."""


class Translation:
    """Bodies and all that they call, in one text.

    Args:
        real: "float" or "double": type of arguments and results; arguments annotated ``Any`` are outputs.
        replace: C functions to take for some bodies, such as a hardware exponential.
    """

    def __init__(self, real: str, replace: Mapping[Any, str] | None = None) -> None:
        self.real = real
        self._names: dict[Any, str] = {_python_function(body): name for body, name in (replace or {}).items()}
        self._parts = [PRELUDE]

    @property
    def text(self) -> str:
        """C++ of everything added so far."""
        return "\n".join(self._parts)

    def add(self, body: Callable[..., Any]) -> str:
        """Translate ``body`` unless that was done before; return its name in C++.

        Raises:
            TranslationError: it is not made of scalar arithmetic alone.
        """
        function = _python_function(body)
        if function not in self._names:
            self._names[function] = f"{function.__module__.rpartition('.')[2]}_{function.__name__.strip('_')}"
            part = _Body(self, function).translate()  # adds what it calls before itself
            self._parts.append(part)
        return self._names[function]

    def constants(self, values: tuple[Any, ...], name: str) -> str:
        """Return the name of a table of numbers."""
        text = f"static __device__ const {self.real} {name}[] = {{{', '.join(literal(v) for v in values)}}};\n"
        if text not in self._parts:
            self._parts.append(text)
        return name


def literal(value: Any) -> str:
    """Return a number as C++ reads it back, of its own type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if not math.isfinite(value):
        return "INFINITY" if value > 0 else "-INFINITY" if value < 0 else "NAN"
    return repr(float(value)) + ("f" if type(value) is np.float32 else "")


def _python_function(body: Any) -> Any:
    """Return the Python function that Numba compiles."""
    return getattr(body, "py_func", body)


class _Body:
    """Translation of one function."""

    def __init__(self, whole: Translation, function: Any) -> None:
        self._whole, self._function = whole, function
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self._tree = tree
        self._scopes: list[set[str]] = [{argument.arg for argument in tree.args.args}]
        self._temporaries = 0

    def translate(self) -> str:
        """Return the definition of the function."""
        real = self._whole.real
        arguments = [
            f"{real}{'*' if isinstance(a.annotation, ast.Name) and a.annotation.id == 'Any' else ''} {a.arg}"
            for a in self._tree.args.args
        ]
        head = f"__device__ inline auto {self._whole.add(self._function)}({', '.join(arguments)}) {{\n"
        return head + self._block(self._tree.body, 1) + "}\n"

    def _block(self, statements: list[ast.stmt], depth: int) -> str:
        lines: list[str] = []
        for statement in statements:
            lines += self._statement(statement, depth)
        return "".join(f"{'    ' * depth}{line}\n" for line in lines)

    def _inner(self, statements: list[ast.stmt], depth: int) -> str:
        self._scopes.append(set())
        text = "{\n" + self._block(statements, depth + 1) + "    " * depth + "}"
        self._scopes.pop()
        return text

    def _statement(self, node: ast.stmt, depth: int) -> list[str]:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                return []
            case ast.Break():
                return ["break;"]
            case ast.Return(value=ast.expr() as value):
                return [f"return {self._expression(value)};"]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                # The right side is taken as a whole before anything is assigned; its parts may differ in type.
                names = [self._temporary() for _ in values]
                texts = [f"auto {name} = {self._expression(v)};" for name, v in zip(names, values, strict=True)]
                return texts + [self._assign(t, name) for t, name in zip(targets, names, strict=True)]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                name = self._temporary()
                used = [(i, t) for i, t in enumerate(targets) if not (isinstance(t, ast.Name) and t.id == "_")]
                texts = [f"auto {name} = {self._expression(value)};"]
                return texts + [self._assign(target, f"{name}.v[{i}]") for i, target in used]
            case ast.Assign(targets=[target], value=value):
                return [self._assign(target, self._expression(value))]
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                return [f"{name} {_OPERATORS[type(op)]}= {self._expression(value)};"]
            case ast.If(test=test, body=body, orelse=orelse):
                declared = [f"{self._whole.real} {name};" for name in self._shared(body, orelse)]
                text = f"if ({self._expression(test)}) {self._inner(body, depth)}"
                return [*declared, text + (f" else {self._inner(orelse, depth)}" if orelse else "")]
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=args), body=body):
                return [self._loop(name, args) + self._inner(body, depth)]
        raise self._refusal(node)

    def _shared(self, body: list[ast.stmt], orelse: list[ast.stmt]) -> list[str]:
        """Return names that both branches assign for the first time: they belong to the block around."""
        both = _assigned(body) & _assigned(orelse)
        new = sorted(name for name in both if not any(name in scope for scope in self._scopes))
        self._scopes[-1].update(new)
        return new

    def _loop(self, name: str, args: list[ast.expr]) -> str:
        bounds = [self._expression(a) for a in args]
        start, stop, step = ["0", *bounds, "1"] if len(bounds) == 1 else [*bounds, "1"][:3]
        self._scopes[-1].add(name)
        compare = ">" if step.lstrip("(").startswith("-") else "<"
        return f"for (int {name} = {start}; {name} {compare} {stop}; {name} += {step}) "

    def _assign(self, target: ast.expr, value: str) -> str:
        if isinstance(target, ast.Name):
            new = not any(target.id in scope for scope in self._scopes)
            self._scopes[-1].add(target.id)
            return f"{'auto ' if new else ''}{target.id} = {value};"
        return f"{self._expression(target)} = {value};"

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"values{self._temporaries}"

    def _expression(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return literal(value)
            case ast.Name(id=name):
                return name if any(name in scope for scope in self._scopes) else self._constant(node)
            case ast.Attribute():
                return self._constant(node)
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=2)):
                return f"squared({self._expression(left)})"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return f"({self._expression(left)} {_OPERATORS[type(op)]} {self._expression(right)})"
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return f"({_OPERATORS[type(op)]}{self._expression(operand)})"
            case ast.BoolOp(op=op, values=values):
                return "(" + f" {_OPERATORS[type(op)]} ".join(self._expression(v) for v in values) + ")"
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [self._expression(side) for side in (left, *comparators)]
                parts = [f"{a} {_OPERATORS[type(op)]} {b}" for a, op, b in zip(sides, ops, sides[1:], strict=False)]
                return "(" + " && ".join(f"({part})" for part in parts) + ")"
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return f"({self._expression(test)} ? {self._expression(body)} : {self._expression(orelse)})"
            case ast.Tuple(elts=elts):
                parts = ", ".join(self._expression(e) for e in elts)
                return f"Values<{self._whole.real}, {len(elts)}>{{{{{parts}}}}}"
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                known = any(name in scope for scope in self._scopes)
                table = name if known else self._whole.constants(self._value(node.value), name)
                return f"{table}[{self._expression(index)}]"
            case ast.Subscript(value=ast.Call() as call, slice=index):
                return f"{self._expression(call)}.v[{self._expression(index)}]"
            case ast.Call(func=func, args=args, keywords=[]):
                return self._call(self._value(func), node, args)
        raise self._refusal(node)

    def _call(self, function: Any, node: ast.expr, args: list[ast.expr]) -> str:
        values = [self._expression(a) for a in args]
        if function is np.float32 and isinstance(args[0], ast.Constant):
            return literal(np.float32(args[0].value))  # pyright: ignore[reportArgumentType]
        if function not in _FUNCTIONS and not inspect.isfunction(_python_function(function)):
            raise self._refusal(node)
        name = _FUNCTIONS.get(function) or self._whole.add(function)
        return f"{name}({', '.join(values)})"

    def _constant(self, node: ast.expr) -> str:
        value = self._value(node)
        if isinstance(value, int | float | np.floating | np.integer):
            return f"({literal(value)})"
        raise self._refusal(node)

    def _value(self, node: ast.expr) -> Any:
        """Return what a name that is no variable stands for."""
        match node:
            case ast.Name(id=name) if name in self._function.__globals__:
                return self._function.__globals__[name]
            case ast.Name(id=name) if hasattr(builtins, name):
                return getattr(builtins, name)
            case ast.Attribute(value=ast.Name() as module, attr=attribute):
                return getattr(self._value(module), attribute)
        raise self._refusal(node)

    def _refusal(self, node: ast.AST) -> TranslationError:
        where = f"{self._function.__module__}.{self._function.__name__}"
        return TranslationError(f"{where} must be scalar arithmetic to have a CUDA form, got: {ast.unparse(node)}")


def _assigned(statements: list[ast.stmt]) -> set[str]:
    """Return names that the statements assign whichever branch is taken."""
    names: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.If):
            names |= _assigned(statement.body) & _assigned(statement.orelse)
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names - {"_"}
