"""Models built piece by piece: variables of any shape, factors by index arrays or one at a time."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Group
from factorgraph.interface.arguments import check_flag, check_instance, check_integer, check_name, real_array, shown
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import (
    MAX_COMPONENTS,
    MAX_STATES,
    Factor,
    Model,
    Selection,
    Variable,
    check_sizes,
    is_factor,
)
from factorgraph.priors import GroupSparse, Prior

#: Types of numbers that go into a typed array as they are.
_PLAIN = {int, float, np.float64, np.float32, np.int64, np.int32}


class Graph:
    """A model under construction.

    Examples:
        >>> graph = Graph()
        >>> s = graph.spins("s", (3, 3), field=0.1)
        >>> graph.add(Pairwise(s[:-1], s[1:], coupling=0.3))
        >>> graph.add(Pairwise(s[:, :-1], s[:, 1:], coupling=0.3))
    """

    def __init__(self) -> None:
        self._plates: dict[str, int | None] = {}
        self._variables: dict[str, Variable] = {}
        self._marks: dict[str, str] = {}  # of the variables, as their selections carry them
        self._factors: list[Factor | _Growing] = []
        self._model: Model | None = None

    def spins(
        self, name: str, shape: int | Sequence[int] = (), *, field: ArrayLike = 0.0, prior: Prior | None = None
    ) -> Selection:
        """Add variables with values ±1 and weight e^{field s}, times a prior if one is given.

        Args:
            name: of the variable.
            shape: of its array; () for a single one.
            field: number or array of that shape.
            prior: a prior of spins; by default both values count 1, and log Z is that of the bare sum over states.

        Raises:
            ModelError: a name that is taken, a shape, field or prior that does not fit.
        """
        _check_prior(prior)
        if prior is not None and not prior.spin:
            raise ModelError(f"`prior` of spins `{name}` must be one of spins, got {prior}")
        return self._variable(name, shape, prior=prior, spin=True, field=field)

    def reals(
        self,
        name: str,
        shape: int | Sequence[int] = (),
        *,
        prior: Prior | None = None,
        field: ArrayLike = 0.0,
        precision: ArrayLike = 0.0,
        observed: bool = False,
        shared: bool = False,
    ) -> Selection:
        """Add real variables with weight e^{field x - precision x²/2}, times a prior if one is given.

        Args:
            name: of the variable.
            shape: of its array; () for a single one.
            prior: by default the flat measure dx, with which factors or the precision must make a law.
            field: number or array of that shape.
            precision: number or array of that shape.
            observed: the values come with the data.
            shared: every message to the elements along the last axis has one precision (isotropic messages); they may
                then have any prior, that of spins too, and ``LinearMap`` acts on them.

        Raises:
            ModelError: as for ``spins``.
        """
        _check_prior(prior)
        if prior is not None and prior.spin and not check_flag("shared", shared, error=ModelError):
            raise ModelError(f"`prior` of reals `{name}` must be one of real variables, got {prior}")
        return self._variable(
            name, shape, prior=prior, field=field, precision=precision, observed=observed, shared=shared
        )

    def vectors(
        self,
        name: str,
        shape: int | Sequence[int] = (),
        dimension: int = 2,
        *,
        prior: Prior | GroupSparse | None = None,
        field: ArrayLike = 0.0,
        precision: ArrayLike = 0.0,
        shared: bool = False,
    ) -> Selection:
        """Add variables with values in R^d and weight e^{field · x - x · precision x/2}, for ``Linear`` factors.

        Args:
            name: of the variable.
            shape: of its array; () for a single vector.
            dimension: d >= 1, number of components of each vector.
            prior: a Gaussian one of every component, or ``GroupSparse``; by default the flat measure. Other laws are
                factors: a ``Linear`` of one argument for a covariance matrix, a category and a ``Switch`` for a
                mixture.
            field: number or array that broadcasts to (*shape, d).
            precision: number, for a multiple of the identity, or symmetric matrices that broadcast to (*shape, d, d).
            shared: every message to the elements along the last axis, the rows of a matrix, has one precision matrix.

        Raises:
            ModelError: as for ``spins``; or a matrix that is not symmetric, or a prior that is no law of vectors.
        """
        dimension = check_integer(f"dimension` of `{name}", dimension, maximum=MAX_COMPONENTS, error=ModelError)
        if dimension < 1:
            raise ModelError(f"`dimension` of `{name}` must be >= 1, got {dimension}")
        shape = check_sizes("shape", shape, dimension)
        values = real_array("field", field, error=ModelError)
        matrix = real_array("precision", precision, error=ModelError)
        matrix = matrix * np.eye(dimension) if not matrix.ndim else matrix
        try:
            values = np.broadcast_to(values, (*shape, dimension))
            matrix = np.broadcast_to(matrix, (*shape, dimension, dimension))
        except ValueError:
            needs = f"of shapes {(*shape, dimension)} and {(*shape, dimension, dimension)}"
            got = f"{values.shape} and {matrix.shape}"
            raise ModelError(f"`field` and `precision` of `{name}` must be {needs}, got {got}") from None
        if not np.array_equal(matrix, np.swapaxes(matrix, -1, -2)):
            raise ModelError(f"`precision` of `{name}` must be symmetric, got {precision!r}")
        return self._variable(
            name, shape, prior=prior, field=values, precision=matrix, dimension=dimension, shared=shared
        )

    def categories(
        self,
        name: str,
        shape: int | Sequence[int] = (),
        *,
        states: int,
        field: ArrayLike = 0.0,
        observed: bool = False,
    ) -> Selection:
        """Add variables with values 0 .. states - 1 and weight e^{field[c]}.

        Args:
            name: of the variable.
            shape: of its array; () for a single one.
            states: q >= 2, number of values of each.
            field: log-weights that broadcast to (*shape, q); -∞ for what is impossible.
            observed: the values come with the data.

        Raises:
            ModelError: as for ``spins``.
        """
        states = check_integer(f"states` of `{name}", states, minimum=2, maximum=MAX_STATES, error=ModelError)
        shape = check_sizes(f"shape` of `{name}", shape, states=states)
        values = real_array(f"field` of `{name}", field, shape=(*shape, states), finite=False, error=ModelError)
        return self._variable(name, shape, field=values, observed=observed, states=states)

    def add(self, factor: Factor) -> None:
        """Add factors: a group of any size in one object.

        Raises:
            ModelError: not a factor, or with selections of another graph; and when the model is made, if it does not
                fit its variables.
        """
        if not is_factor(factor):
            raise ModelError(f"`factor` must be a factor, such as those of factorgraph.factors, got {shown(factor)}")
        self._check_owner("factor", getattr(factor, "arguments", ()))
        self._factors.append(factor)
        self._model = None

    def one_by_one(self, kind: Any, *targets: Selection, **fixed: Any) -> Callable[..., None]:
        """Return a function that adds a single factor of a kind: ``add(index_1, ..., index_k, *parameters)``.

        The indices are flat positions in the k ``targets``; the parameters are all numbers of a factor, in the order of
        the kind's keywords: k coefficients, target and noise of ``Linear``, k - 1 coefficients of ``Sum``, what the
        function of ``Function`` takes besides its arguments. What the factors have in common is ``fixed``.

        >>> couple = graph.one_by_one(Pairwise, s, s)
        >>> couple(0, 1, 0.5)
        >>> step = graph.one_by_one(Linear, x, x)
        >>> step(0, 1, 1.0, -1.0, 0.0, 0.3)  # N(0; x[0] - x[1], 0.3)
        >>> link = graph.one_by_one(Sum, s, x, channel=Probit(1.0))
        >>> link(0, 1, 2.0)

        Raises:
            ModelError: vectors (add their factors by ``add``), not a kind of factors on selections, or ``fixed`` that
                are not what such factors have in common. The function raises it for what is not so many numbers, and
                adds nothing then.
        """
        if not (isinstance(kind, type) and issubclass(kind, Group)):
            raise ModelError(f"`kind` must be a class of factors on selections of variables, got {shown(kind)}")
        for target in targets:
            check_instance("targets", target, Selection, "selections of variables", error=ModelError)
        if any(target.dimension for target in targets):
            raise ModelError("targets must be scalars for factors one at a time, got vectors: use `add`")
        if unknown := set(fixed) - set(kind.shared_names):
            known = list(kind.shared_names)
            raise ModelError(f"`fixed` of {kind.__name__} must be among {known}, got {sorted(unknown)}")
        self._check_owner("targets", targets)
        growing = _Growing(kind, targets, fixed)
        growing.try_out()
        self._factors.append(growing)
        self._model = None
        return growing.appender(self._changed)

    def _check_owner(self, what: str, selections: Sequence[Selection]) -> None:
        for selection in selections:
            if selection.owner and selection.owner != self._marks.get(selection.name):
                raise ModelError(
                    f"`{what}` must select from variables of this graph, got `{selection.name}` of another"
                )

    def _changed(self) -> None:
        self._model = None

    @property
    def model(self) -> Model:
        """The description so far, checked.

        Raises:
            ModelError: something does not fit.
        """
        if self._model is None:
            grown = (f.group() if isinstance(f, _Growing) else f for f in self._factors)
            factors = tuple(factor for factor in grown if factor is not None)
            self._model = Model(dict(self._plates), dict(self._variables), factors)
        return self._model

    def _variable(self, name: str, shape: int | Sequence[int], **options: Any) -> Selection:
        check_name("name", name, error=ModelError)
        if name in self._variables:
            raise ModelError(f"names of variables must differ, got {name!r} twice")
        shape = check_sizes(f"shape` of `{name}", shape, options.get("dimension", 0), options.get("states", 0))
        for what in ("field", "precision"):
            if what in options and "states" not in options:
                options[what] = real_array(f"{what}` of `{name}", options[what], error=ModelError)
        plates = tuple(f"{name}.{axis}" for axis in range(len(shape)))
        variable = Variable(name, plates, **options)
        Model(dict(zip(plates, shape, strict=True)), {name: variable})
        self._plates.update(zip(plates, shape, strict=True))
        self._variables[name] = variable
        self._marks[name] = uuid4().hex
        self._model = None
        return replace(Selection.whole(name, shape, variable.dimension), owner=self._marks[name])

    def __str__(self) -> str:
        return str(self.model)

    def _repr_html_(self) -> str:
        return self.model._repr_html_()


def model_of(model: Model | Graph) -> Model:
    """Return a model as it is, or that of a graph under construction.

    Raises:
        ModelError: neither, or a graph in which something does not fit.
    """
    if isinstance(model, Graph):
        return model.model
    return check_instance("model", model, Model, "a Model or a Graph", error=ModelError)


def _check_prior(prior: Any) -> None:
    check_instance("prior", prior, (Prior, type(None)), "a prior or None", error=ModelError)


class _Growing:
    """Factors of one kind that arrive one at a time: one typed array, a row of indices and parameters per factor."""

    def __init__(self, kind: type[Group], targets: tuple[Selection, ...], shared: dict[str, Any]) -> None:
        self.kind, self.targets, self.shared = kind, targets, shared
        self.shapes = kind.row_shapes(len(targets), shared)
        self.sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        self.numbers = array("d")

    def try_out(self) -> None:
        """Raise ``ModelError`` if there are no factors of the kind with so many arguments and what is shared."""
        arguments = [Selection(target.name, target.indices.ravel()[:1]) for target in self.targets]
        rows = {name: np.ones((1, *shape)) for name, shape in self.shapes.items()}
        try:
            self.kind.from_rows(arguments, rows, self.shared)
        except TypeError as cause:  # a constructor that takes other arguments
            got = f"{len(arguments)} targets and {sorted(self.shared)}"
            raise ModelError(
                f"`targets` and `fixed` must be those of {self.kind.__name__}, got {got}: {cause}"
            ) from None

    def appender(self, changed: Callable[[], None]) -> Callable[..., None]:
        sized = list(zip(self.shapes.items(), self.sizes, strict=True))
        parts = [f"{len(self.targets)} indices"]
        parts += [f"{size} {name}" if shape else name for (name, shape), size in sized]
        names = [f"index_{i + 1}" for i in range(len(self.targets))]
        names += [name for (name, _), size in sized for _ in range(size)]
        extend = self.numbers.extend

        def append(*row: float) -> None:
            if len(row) != len(names):
                raise ModelError(f"a factor must be given by {len(names)} numbers ({', '.join(parts)}), got {len(row)}")
            # Converted as a whole before anything is appended: a row is added completely or not at all.
            if not _PLAIN.issuperset(map(type, row)):
                row = tuple(map(_number, names, row))
            try:
                extend(array("d", row))
            except OverflowError:
                extend(array("d", map(_number, names, row)))
            changed()

        return append

    def group(self) -> Factor | None:
        """Return the factors so far in one object; None if there are none."""
        arity = len(self.targets)
        table = np.frombuffer(self.numbers, dtype=np.float64).reshape(-1, arity + sum(self.sizes)).copy()
        if not len(table):
            return None
        arguments = []
        for target, column in zip(self.targets, table.T[:arity], strict=True):
            index, size = column.astype(np.intp), target.indices.size
            if np.any(index != column) or index.min() < 0 or index.max() >= size:
                wrong = column[(index != column) | (index < 0) | (index >= size)][0]
                raise ModelError(f"indices of `{target.name}` must be integers in 0..{size - 1}, got {wrong:g}")
            arguments.append(Selection(target.name, target.indices.ravel()[index]))
        blocks = np.split(table[:, arity:], np.cumsum(self.sizes)[:-1], axis=1)
        named = zip(self.shapes.items(), blocks, strict=False)  # a kind without parameters has one empty block
        rows = {name: block.reshape(len(table), *shape) for (name, shape), block in named}
        return self.kind.from_rows(arguments, rows, self.shared)


def _number(name: str, value: Any) -> float:
    """Return any real number as a float, infinite ones too."""
    if isinstance(value, Real) or (isinstance(value, np.ndarray) and value.ndim == 0):
        number: Any = value
        return float(real_array(name, number, finite=False, error=ModelError))
    raise ModelError(f"`{name}` must be a number, got {shown(value)}")
