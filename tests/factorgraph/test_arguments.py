"""The door: what may come in, and what is refused by name."""

from fractions import Fraction

import numpy as np
import pytest

from factorgraph.interface.arguments import (
    check_choice,
    check_fields,
    check_flag,
    check_generator,
    check_integer,
    check_name,
    check_number,
    check_shape,
    number_array,
    real_array,
    shown,
)

pytestmark = pytest.mark.quick


class Stubborn:
    """An array-like that refuses to be one, as tensors with a gradient do."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), Fraction(2)])
def test_numbers(value):
    assert check_number("x", value, minimum=2, maximum=2) == 2.0


@pytest.mark.parametrize("value", ["2", None, 2j, [2], np.array([2.0]), np.nan, np.inf, 10**400, 3, 1, np.array("2")])
def test_no_numbers(value):
    with pytest.raises(ValueError, match=r"`x` must be a finite number >= 2 and <= 2, got"):
        check_number("x", value, minimum=2, maximum=2)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_integers(value):
    number = check_integer("n", value, minimum=1)
    assert number == 3 and type(number) is int


@pytest.mark.parametrize("value", [True, 3.0, "3", None, np.float64(3), 0, np.array([3])])
def test_no_integers(value):
    with pytest.raises(ValueError, match=r"`n` must be an integer >= 1, got"):
        check_integer("n", value, minimum=1)


def test_shapes():
    assert check_shape("shape", np.int64(3)) == (3,)
    assert check_shape("shape", (np.int32(3), 2)) == (3, 2)
    assert check_shape("shape", np.array([3, 2])) == (3, 2)
    assert check_shape("shape", ()) == ()
    for wrong in ("3", (2.7,), (0,), -1, None, ("2",)):
        with pytest.raises(ValueError, match="`shape` must be"):
            check_shape("shape", wrong)


def test_choices():
    assert check_choice("start", "prior", ("prior", "random")) == "prior"
    for wrong in ("Prior", None, np.zeros(3), ["prior"]):
        with pytest.raises(ValueError, match=r"`start` must be one of \['prior', 'random'\], got"):
            check_choice("start", wrong, ("prior", "random"))


@pytest.mark.parametrize(
    "values", [[1, 2], [1.0, 2.0], np.array([1, 2], np.int8), np.array([1, 2], object), np.ma.array([1.0, 2.0])]
)
def test_arrays(values):
    array = real_array("y", values)
    assert type(array) is np.ndarray and array.dtype == np.float64 and array.tolist() == [1.0, 2.0]


def test_float64_is_not_copied():
    values = np.ones(3)
    assert real_array("y", values) is values


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.array([1j, 2]), "real numbers, got complex"),
        ([[1], [1, 2]], "real numbers"),
        (["1", "2"], "real numbers"),
        (np.array([1, None]), "real numbers"),
        (None, "real numbers"),
        (np.array([10**400], object), "real numbers"),
        (Stubborn(), "detach"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), "no masked elements, got 1"),
        ([1.0, np.nan], r"finite numbers, got nan at \(1,\)"),
        ([np.inf, 1.0], r"finite numbers, got inf at \(0,\)"),
    ],
)
def test_no_arrays(values, what):
    with pytest.raises(ValueError, match=f"`y` must (be|have) .*{what}"):
        real_array("y", values)


def test_missing_values():
    masked = np.ma.array([1, 2], mask=[True, False])
    np.testing.assert_array_equal(real_array("y", masked, missing=True), [np.nan, 2.0])
    with pytest.raises(ValueError, match="`y` must be finite numbers or NaN, got inf"):
        real_array("y", [np.inf, np.nan], missing=True)


def test_infinite_values():
    assert real_array("h", [np.inf], finite=False).tolist() == [np.inf]
    with pytest.raises(ValueError, match="`h` must be numbers, got nan"):
        real_array("h", [np.nan], finite=False)


def test_broadcasting():
    assert real_array("y", 2.0, shape=(2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"`y` must be a number or of shape \(3,\), got shape \(3, 1\)"):
        real_array("y", np.ones((3, 1)), shape=(3,))


def test_errors_are_of_the_given_class():
    class OwnError(ValueError):
        pass

    for call in (
        lambda: check_number("x", "a", error=OwnError),
        lambda: check_integer("x", "a", error=OwnError),
        lambda: check_shape("x", "a", error=OwnError),
        lambda: check_choice("x", "a", ("b",), error=OwnError),
        lambda: real_array("x", "a", error=OwnError),
    ):
        with pytest.raises(OwnError):
            call()


def test_long_values_are_cut():
    assert len(shown(list(range(10_000)))) <= 140
    assert "int" in shown(10**5000)


def test_flags_names_and_generators():
    assert check_flag("shared", np.bool_(True)) is True
    for wrong in (1, None, "x"):
        with pytest.raises(ValueError, match="`shared` must be True or False, got"):
            check_flag("shared", wrong)
    assert check_name("name", "s") == "s"
    for wrong in ("", None, b"s", 3):
        with pytest.raises(ValueError, match="`name` must be a string"):
            check_name("name", wrong)
    rng = np.random.default_rng(0)
    assert check_generator("rng", rng) is rng
    assert check_generator("rng", np.int64(3)).random() == np.random.default_rng(3).random()
    for wrong in (None, "x", -1, 2.0, True, np.random):
        with pytest.raises(ValueError, match=r"`rng` must be a numpy.random.Generator or an integer >= 0, got"):
            check_generator("rng", wrong)


def test_numbers_keep_their_type():
    values = np.ones(3, np.float32)
    assert number_array("y", values) is values
    assert number_array("y", [np.nan, np.inf]).dtype == np.float64
    assert number_array("y", []).shape == (0,)


def test_masks_inside_lists():
    row = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(ValueError, match="`y` must have no masked elements, got 2 of them"):
        real_array("y", [row, row])
    np.testing.assert_array_equal(real_array("y", [row, [3.0, 4.0]], missing=True), [[1.0, np.nan], [3.0, 4.0]])
    with pytest.raises(ValueError, match="`x` must be a finite number"):
        check_number("x", np.ma.masked)


def test_fields():
    assert check_fields("x", {"b": 2}, ("a", "b"), {"a": 1}) == {"a": 1, "b": 2}
    assert check_fields("x", {"a": 3, "b": 2}, ("a", "b"), {"a": 1}) == {"a": 3, "b": 2}
    with pytest.raises(ValueError, match=r"^`x` must have the fields a, b, and lacks b$"):
        check_fields("x", {"a": 1}, ("a", "b"), {"a": 1})
    with pytest.raises(ValueError, match=r"^`x` must have the fields a, and has \['b'\]$"):
        check_fields("x", {"a": 1, "b": 2}, ("a",))
    with pytest.raises(ValueError, match=r"^`x` must be a JSON object, got \[\]$"):
        check_fields("x", [], ("a",))
