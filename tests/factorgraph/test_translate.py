"""Scalar bodies in C++ against the same bodies compiled by Numba, and what has no translation."""

import ctypes
import math

import numpy as np
import pytest
from emulated_gpu import HEADER, compiled, elementwise, needs_compiler
from formulas import FORMULAS, arguments

from factorgraph.runtime.cpp import Translation, TranslationError, literal
from factorgraph.runtime.device_arrays import on_device

#: The same operations in the same order. Libraries of elementary functions differ in the last place, which exponents up
#: to 700 make 1e-13; measured: below 2e-13.
SAME_FORMULA = 1e-12


@needs_compiler
@pytest.mark.parametrize("name", FORMULAS)
def test_translation_equals_the_body(name):
    function = FORMULAS[name]
    args = arguments(function._element, function._inputs, np.random.default_rng(0))
    ours = elementwise(function._element, function._inputs, function.outputs)(*args)
    for our, their in zip(ours, function(*args), strict=True):
        np.testing.assert_allclose(our, their, rtol=SAME_FORMULA, atol=1e-290)
        assert np.unique(their).size > 100


def branches(a: float, b: float) -> tuple[float, float]:
    if a > b:
        big, small = a, b
    elif a == b:
        big = small = a
    else:
        big, small = b, a
    return big, small


def conditional(a: float, b: float) -> tuple[float, float]:
    """Branches, a loop downwards, comparisons in a row, and names that change their places."""
    if a > 0.0:
        c = a * b
    elif b > 0.0:
        c = -b
    else:
        c = 0.5
    a, b = b, a
    for j in range(5, 1, -2):
        c += j / (1.0 + abs(a))
    return (c, max(a, b)) if -1.0 < c <= 1.0 and not (a == b) else (min(a, b) ** 2, math.inf)


@needs_compiler
def test_statements():
    bodies = Translation("double")
    name = bodies.add(conditional)
    body = f"auto values = {name}(a, b); out[0] = values.v[0]; out[1] = values.v[1];"
    run = compiled(f'{HEADER}{bodies.text}extern "C" void run(double a, double b, double* out) {{ {body} }}').run
    run.argtypes = [ctypes.c_double, ctypes.c_double, ctypes.c_void_p]
    out = np.empty(2)
    for a, b in ((1.0, -3.0), (-1.0, 9.0), (-2.0, -5.0), (0.01, 0.02), (2.0, 2.0)):
        run(a, b, out.ctypes.data)
        assert tuple(out) == pytest.approx(conditional(a, b))


def unknown(a: float) -> float:
    return math.gamma(a)


def slices(a: float) -> float:
    return [a][0]


@pytest.mark.parametrize("body", [unknown, slices, branches])
def test_refusals(body):
    with pytest.raises(TranslationError, match=f"{body.__name__} must be scalar arithmetic"):
        Translation("double").add(body)


def test_literals_read_back():
    assert [literal(v) for v in (2, True, 0.1, math.inf, -math.inf)] == ["2", "true", "0.1", "INFINITY", "-INFINITY"]
    assert np.float32(literal(np.float32(0.1)).removesuffix("f")) == np.float32(0.1)


def test_numpy_arrays_are_not_on_a_device():
    assert not on_device(np.ones(2), 1.0)
