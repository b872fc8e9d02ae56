"""Every public entry point of the package with every kind of wrong value: an error of ours that names the argument.

The tables must have an entry for all that the packages export, so that nothing new can be left out.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from wrong_values import WRONG, check_refusals

import factorgraph as fg
from factorgraph import channels, priors
from factorgraph.factors import Bilinear, Function, Linear, LinearMap, Neurons, Pairwise, Parity, PSpin, Sum
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import Selection, Variable

#: What an argument of some type may take without an error.
NUMBER = ("float",)
ALSO_NEGATIVE = ("float", "negative")
OPTIONAL = ("None",)
FIELD = ("float", "negative", "column")  # with seven elements, a column is a shape of its own
GIVEN = ("None", "empty dict")  # arrays by name
SEED = ("huge",)

#: Arguments of an entry point: name, call with the value, labels that may work.
Row = tuple[str, Callable[[Any], Any], tuple[str, ...]]


def spins() -> Selection:
    return fg.Graph().spins("s", 7)


def one_by_one(kind: Any, real: bool = False, **fixed: Any) -> Callable[..., None]:
    """What adds factors of two spins, or of a spin and a real variable, of one graph."""
    graph = fg.Graph()
    s = graph.spins("s", 7)
    return graph.one_by_one(kind, s, graph.reals("x", 7) if real else s, **fixed)


def reals() -> Selection:
    return fg.Graph().reals("x", 7, precision=1.0)


def ring() -> fg.Graph:
    graph = fg.Graph()
    s = graph.spins("s", 7, field=0.1)
    graph.add(Pairwise(s, s[np.r_[1:7, 0]], coupling=0.3))
    return graph


def chain() -> fg.Graph:
    graph = fg.Graph()
    x = graph.reals("x", 7, precision=10.0)
    graph.add(Pairwise(x[1:], x[:-1], coupling=0.2))
    return graph


def network(**changes: Any) -> nx.Graph:
    """A pair of spins with other attributes, by ``node_``, ``other_`` and ``edge_`` in front of their names."""
    graph = nx.Graph()
    graph.add_node("a", **{"field": 0.1} | {k[5:]: v for k, v in changes.items() if k.startswith("node_")})
    graph.add_node("b")
    graph.add_edge("a", "b", **{"coupling": 0.3} | {k[5:]: v for k, v in changes.items() if k.startswith("edge_")})
    return graph


def bipartite(**changes: Any) -> nx.Graph:
    graph = nx.Graph()
    node, factor, edge = (
        {k[5:]: v for k, v in changes.items() if k.startswith(p)} for p in ("node_", "fact_", "edge_")
    )
    graph.add_node("a", **{"kind": "spin"} | node)
    graph.add_node("b", kind="spin")
    graph.add_node("f", **{"kind": "factor", "factor": "Pairwise", "coupling": 0.3} | factor)
    graph.add_edge("f", "a", **{"argument": 0} | edge)
    graph.add_edge("f", "b", argument=1)
    return graph


def graph_rows() -> Iterator[Row]:
    def new(method: str, **options: Any) -> Any:
        return lambda **changes: getattr(fg.Graph(), method)(**({"name": "v", "shape": 7} | options | changes))

    for method in ("spins", "reals"):
        make = new(method)
        yield "name", lambda v, make=make: make(name=v), ("text", "digits")
        yield "shape", lambda v, make=make: make(shape=v), ("empty list",)
        yield "field", lambda v, make=make: make(field=v), ALSO_NEGATIVE
        yield "prior", lambda v, make=make: make(prior=v), OPTIONAL
    yield "precision", lambda v: new("reals")(precision=v), ALSO_NEGATIVE
    yield "observed", lambda v: new("reals")(observed=v), ()
    yield "shared", lambda v: new("reals")(shared=v), ()
    make = new("vectors")
    yield "name", lambda v: make(name=v), ("text", "digits")
    yield "shape", lambda v: make(shape=v), ("empty list",)
    yield "dimension", lambda v: make(dimension=v), ()
    yield "field", lambda v: make(field=v, dimension=1), (*ALSO_NEGATIVE, "column", "nested")
    yield "precision", lambda v: make(precision=v, dimension=1), (*ALSO_NEGATIVE, "nested")
    yield "shared", lambda v: make(shared=v), ()
    yield "factor", lambda v: fg.Graph().add(v), ()
    yield "kind", lambda v: one_by_one(v), ()
    yield "targets", lambda v: fg.Graph().one_by_one(Pairwise, spins(), v), ()
    yield "index_2", lambda v: one_by_one(Pairwise)(0, v, 0.1), (
        "float", "nan", "inf", "negative",
    )  # fmt: skip
    yield "coupling", lambda v: one_by_one(Pairwise)(0, 1, v), (
        "float", "nan", "inf", "negative",
    )  # fmt: skip
    yield "channel", lambda v: one_by_one(Sum, True, channel=v), ()
    yield "log_factor", lambda v: one_by_one(Function, log_factor=v), ("lambda",)


def factor_rows(name: str) -> Iterator[Row]:
    sign = channels.Sign()
    if name == "Pairwise":
        yield "x", lambda v: Pairwise(v, spins(), coupling=0.1), ()
        yield "y", lambda v: Pairwise(spins(), v, coupling=0.1), ()
        yield "coupling", lambda v: Pairwise(spins(), spins(), coupling=v), ALSO_NEGATIVE
    elif name == "PSpin":
        yield "spins", lambda v: PSpin(spins(), v, coupling=0.1), ()
        yield "coupling", lambda v: PSpin(spins(), spins(), coupling=v), ALSO_NEGATIVE
    elif name == "Parity":
        yield "spins", lambda v: Parity(v), ()
        yield "sign", lambda v: Parity(spins(), spins(), sign=v), ()
    elif name == "Linear":
        yield "terms", lambda v: Linear(reals(), v), ()
        yield "coefficients", lambda v: Linear(reals(), coefficients=v), (*ALSO_NEGATIVE, "column")
        yield "target", lambda v: Linear(reals(), target=v), ALSO_NEGATIVE
        yield "noise", lambda v: Linear(reals(), noise=v), NUMBER
        x = fg.Graph().vectors("x", 7, 2)
        yield "coefficients", lambda v: Linear(x, coefficients=v), ALSO_NEGATIVE
        yield "target", lambda v: Linear(x, target=v), ALSO_NEGATIVE
        yield "noise", lambda v: Linear(x, noise=v), NUMBER
    elif name == "Sum":
        yield "output", lambda v: Sum(v, reals(), channel=sign), ()
        yield "inputs", lambda v: Sum(spins(), v, channel=sign), ()
        yield "channel", lambda v: Sum(spins(), reals(), channel=v), ()
        yield "coefficients", lambda v: Sum(spins(), reals(), channel=sign, coefficients=v), (*ALSO_NEGATIVE, "column")
    elif name == "Function":
        yield "log_factor", lambda v: Function(v, spins()), ("lambda",)
        yield "arguments", lambda v: Function(np.add, spins(), v), ()
        yield "parameters", lambda v: Function(np.add, spins(), parameters=v), ("empty list",)
        yield "parameters", lambda v: Function(np.add, spins(), parameters=[v]), (*ALSO_NEGATIVE, "inf")
        yield "nodes", lambda v: Function(np.add, spins(), nodes=v), ()
    elif name == "LinearMap":
        z, x = (fg.Graph().reals(name, 2, precision=1.0, shared=True) for name in "zx")
        yield "output", lambda v: LinearMap(v, x, matrix=np.eye(2)), ()
        yield "input", lambda v: LinearMap(z, v, matrix=np.eye(2)), ()
        yield "matrix", lambda v: LinearMap(z, x, matrix=v), ()
    elif name == "Neurons":
        yield "output", lambda v: Neurons(v, [spins()], [spins()], channel=sign), ()
        yield "weights", lambda v: Neurons(spins(), v, [spins()], channel=sign), ()
        yield "weights", lambda v: Neurons(spins(), [v], [spins()], channel=sign), ()
        yield "inputs", lambda v: Neurons(spins(), [spins()], [v], channel=sign), ()
        yield "bias", lambda v: Neurons(spins(), [spins()], [spins()], channel=sign, bias=v), OPTIONAL
        yield "channel", lambda v: Neurons(spins(), [spins()], [spins()], channel=v), ()
        yield "scale", lambda v: Neurons(spins(), [spins()], [spins()], channel=sign, scale=v), NUMBER
    elif name == "Bilinear":
        for what in ("output", "weights", "inputs", "bias"):
            yield (
                what,
                lambda v, what=what: Bilinear(
                    **({"output": "y", "weights": "w", "inputs": "x", "channel": sign} | {what: v})
                ),
                (("text", "digits", "None") if what == "bias" else ("text", "digits")),
            )
        yield "channel", lambda v: Bilinear("y", "w", "x", v), ()
        yield "scale", lambda v: Bilinear("y", "w", "x", sign, scale=v), NUMBER
        yield "mask", lambda v: Bilinear("y", "w", "x", sign, mask=v), OPTIONAL


def model_rows() -> Iterator[Row]:
    yield "plates x", lambda v: fg.Model(v, {}), ("empty dict",)
    yield "p", lambda v: fg.Model({"p": v}, {}), OPTIONAL
    yield "variables", lambda v: fg.Model({}, v), ("empty dict",)
    yield "factors", lambda v: fg.Model({}, {}, v), ("empty list",)
    yield "factors", lambda v: fg.Model({}, {}, (v,)), ()
    yield "variables", lambda v: fg.Model.of({}, v, []), ("empty list", "empty dict", "empty array")
    yield "factors", lambda v: fg.Model.of({}, [], v), ("empty list", "empty dict", "empty array")


def variable_rows() -> Iterator[Row]:
    def model(**options: Any) -> fg.Model:
        variable = Variable(**({"name": "x", "plates": ("p",)} | options))
        return fg.Model.of({"p": 7}, [variable], [])

    yield "name", lambda v: model(name=v), ("text", "digits")
    yield "plates", lambda v: model(plates=v), ()
    yield "plates x", lambda v: model(plates=(v,)), ()
    yield "prior", lambda v: model(prior=v), OPTIONAL
    for what in ("observed", "spin", "shared"):
        yield what, lambda v, what=what: model(**{what: v}), ()
    yield "field", lambda v: model(field=v), ALSO_NEGATIVE
    yield "precision", lambda v: model(precision=v), ALSO_NEGATIVE
    yield "dimension", lambda v: model(dimension=v), ()


def selection_rows() -> Iterator[Row]:
    yield "name", lambda v: Selection(v, np.arange(3)), ("text", "digits")
    yield "indices", lambda v: Selection("s", v), ("negative", "empty list", "empty array")
    yield "dimension", lambda v: Selection("s", np.arange(3), v), ()
    masked = np.ma.array([0, 1], mask=[True, False])
    with pytest.raises(ModelError, match="`key` must have no masked elements"):
        spins()[masked]


def infer_rows() -> Iterator[Row]:
    yield "model", lambda v: fg.infer(v), ()
    options: dict[str, tuple[str, ...]] = {
        "schedule": (), "damping": (), "reinforcement": NUMBER, "tolerance": NUMBER, "max_sweeps": ("huge",),
        "batch": (), "observed": GIVEN, "fields": GIVEN, "precisions": GIVEN, "start": OPTIONAL, "maximum": (),
        "callback": ("None", "lambda"), "progress": (), "rng": SEED,
    }  # fmt: skip
    for what, accepts in options.items():
        yield what, lambda v, what=what: fg.infer(ring(), **({"max_sweeps": 3} | {what: v})), accepts
    yield "fields", lambda v: fg.infer(ring(), fields={"s": v}), ALSO_NEGATIVE
    yield "observed", lambda v: fg.infer(chain(), observed={"x": v}), (*ALSO_NEGATIVE, "nan", "NaN array", "masked")
    yield "precisions", lambda v: fg.infer(chain(), precisions={"x": v}), ALSO_NEGATIVE
    yield "observed", lambda v: fg.infer(ring(), observed={"s": v}), ("nan", "NaN array", "masked")


def search_rows(name: str) -> Iterator[Row]:
    search: Any = getattr(fg, name)
    yield "model", lambda v: search(v), ()
    options: dict[str, tuple[str, ...]] = {
        "schedule": (), "damping": (), "max_sweeps": ("huge",), "observed": GIVEN, "fields": GIVEN, "maximum": (),
        "rng": SEED, "attempts": ("huge",),
    }  # fmt: skip
    options |= {"share": (), "tolerance": NUMBER} if name == "decimate" else {"reinforcement": NUMBER}
    for what, accepts in options.items():
        yield what, lambda v, what=what: search(ring(), **({"max_sweeps": 3} | {what: v})), accepts
    yield "fields", lambda v: search(ring(), fields={"s": v}), ALSO_NEGATIVE
    if name == "decimate":
        yield "name", lambda v: search(ring())[v], ()


def decode_rows() -> Iterator[Row]:
    H = np.array([[1, 1, 0], [0, 1, 1]])
    yield "matrix", lambda v: fg.decode(v, field=0.5), ("column",)
    yield "field", lambda v: fg.decode(H, field=v), ALSO_NEGATIVE
    options = {"method": (), "scale": (), "max_sweeps": (), "syndromes": ()}
    for what, accepts in options.items():
        yield what, lambda v, what=what: fg.decode(H, **({"field": 0.5} | {what: v})), accepts


def exact_rows() -> Iterator[Row]:
    yield "model", lambda v: fg.exact(v), ()
    for what in ("observed", "fields", "precisions"):
        yield what, lambda v, what=what: fg.exact(ring(), **{what: v}), GIVEN
        yield what, lambda v, what=what: fg.exact(chain(), **{what: {"x": v}}), (
            *ALSO_NEGATIVE, *(("nan", "NaN array", "masked") if what == "observed" else ()),
        )  # fmt: skip


def spectral_rows() -> Iterator[Row]:
    yield "u", lambda v: fg.Spectral(v, np.ones(2), np.eye(2)), OPTIONAL
    yield "s", lambda v: fg.Spectral(None, v, np.eye(2)), ()
    yield "vt", lambda v: fg.Spectral(np.eye(2), np.ones(2), v), OPTIONAL
    yield "matrix", lambda v: fg.Spectral.of(v), ("column",)


def from_networkx_rows() -> Iterator[Row]:
    yield "graph", lambda v: fg.from_networkx(v), ()
    yield "name", lambda v: fg.from_networkx(network(), name=v), ("text", "digits")
    yield "spins", lambda v: fg.from_networkx(network(), spins=v), ()
    for what in ("field", "precision"):
        yield what, lambda v, what=what: fg.from_networkx(network(), spins=False, **{what: v}), ("text", "digits")
    yield "coupling", lambda v: fg.from_networkx(network(edge_x=1.0, edge_3=1.0), coupling=v), ("text", "digits")
    yield "field", lambda v: fg.from_networkx(network(node_field=v)), ALSO_NEGATIVE
    yield "precision", lambda v: fg.from_networkx(network(node_precision=v), spins=False), ALSO_NEGATIVE


def from_bipartite_rows() -> Iterator[Row]:
    yield "network", lambda v: fg.from_bipartite(v), ()
    yield "kind", lambda v: fg.from_bipartite(bipartite(node_kind=v)), ()
    yield "variable", lambda v: fg.from_bipartite(bipartite(node_variable=v)), ("text", "digits")
    yield "dimension", lambda v: fg.from_bipartite(bipartite(node_dimension=v)), ()
    yield "field", lambda v: fg.from_bipartite(bipartite(node_field=v)), ALSO_NEGATIVE
    yield "factor", lambda v: fg.from_bipartite(bipartite(fact_factor=v)), ()
    yield "coupling", lambda v: fg.from_bipartite(bipartite(fact_coupling=v)), ALSO_NEGATIVE
    yield "argument", lambda v: fg.from_bipartite(bipartite(edge_argument=v)), ("negative", "huge")


def to_networkx_rows() -> Iterator[Row]:
    yield "model", lambda v: fg.to_networkx(v), ()
    yield "sizes", lambda v: fg.to_networkx(ring(), v), GIVEN


def draw_rows() -> Iterator[Row]:
    yield "model", lambda v: fg.draw(v), ()
    yield "axes", lambda v: fg.draw(ring(), v), OPTIONAL
    yield "seed", lambda v: fg.draw(ring(), seed=v), SEED
    yield "labels", lambda v: fg.draw(ring(), labels=v), ()


def check_factor_rows() -> Iterator[Row]:
    yield "model", lambda v: fg.check_factor(v), ()
    yield "factor", lambda v: fg.check_factor(ring(), v), OPTIONAL
    yield "cases", lambda v: fg.check_factor(ring(), cases=v), ()
    yield "seed", lambda v: fg.check_factor(ring(), seed=v), SEED
    yield "spread", lambda v: fg.check_factor(ring(), spread=v), NUMBER


def file_rows(name: str) -> Iterator[Row]:
    if name == "load_model":
        yield "path", lambda v: fg.load_model(v), ()
    else:
        yield "path", lambda v: fg.save_model(ring(), v), ("text", "digits")
        yield "model", lambda v: fg.save_model(v, "m.npz"), ()


def states() -> fg.Graph:
    graph = fg.Graph()
    graph.categories("c", 7, states=2)
    return graph


def uai_rows(name: str) -> Iterator[Row]:
    if name == "read_uai":
        yield "path", fg.read_uai, ()
    elif name == "write_uai":
        yield "model", lambda v: fg.write_uai(v, "m.uai"), ()
        yield "path", lambda v: fg.write_uai(states(), v), ("text", "digits")
        yield "variables", lambda v: fg.write_uai(states(), "m.uai", variables=v), OPTIONAL
        yield "network", lambda v: fg.write_uai(states(), "m.uai", network=v), ()
    elif name == "read_uai_evidence":
        Path("e.evid").write_text("0")
        yield "path", lambda v: fg.read_uai_evidence(v, states()), ()
        yield "model", lambda v: fg.read_uai_evidence("e.evid", v), ()
        yield "variables", lambda v: fg.read_uai_evidence("e.evid", states(), v), OPTIONAL
    elif name == "write_uai_evidence":
        yield "observed", lambda v: fg.write_uai_evidence(v, "e.evid", states()), GIVEN
        yield "observed", lambda v: fg.write_uai_evidence({"c": v}, "e.evid", states()), (
            "nan", "NaN array", "masked",
        )  # fmt: skip
        yield "path", lambda v: fg.write_uai_evidence({}, v, states()), ("text", "digits")
        yield "model", lambda v: fg.write_uai_evidence({}, "e.evid", v), ()
        yield "variables", lambda v: fg.write_uai_evidence({}, "e.evid", states(), v), OPTIONAL
    elif name == "read_uai_solution":
        yield "path", fg.read_uai_solution, ()
    else:
        yield "task", lambda v: fg.write_uai_solution(v, 0.0, "s"), ()
        yield "solution", lambda v: fg.write_uai_solution("PR", v, "s"), ALSO_NEGATIVE
        yield "solution", lambda v: fg.write_uai_solution("MPE", v, "s"), ()
        yield "solution", lambda v: fg.write_uai_solution("MAR", v, "s"), ()
        yield "path", lambda v: fg.write_uai_solution("PR", 0.0, v), ("text", "digits")


def parity_check_rows(name: str) -> Iterator[Row]:
    if name == "read_alist":
        yield "path", fg.read_alist, ()
    elif name == "write_alist":
        yield "matrix", lambda v: fg.write_alist(v, "m.alist"), ("column",)
        yield "path", lambda v: fg.write_alist(np.eye(3), v), ("text", "digits")
    else:
        yield "matrix", fg.from_parity_checks, ("column",)
        yield "name", lambda v: fg.from_parity_checks(np.eye(7), name=v), ("text", "digits")
        yield "field", lambda v: fg.from_parity_checks(np.eye(7), field=v), ALSO_NEGATIVE
        yield "syndrome", lambda v: fg.from_parity_checks(np.eye(7), syndrome=v), ()


def from_dimod_rows() -> Iterator[Row]:
    pair = fg.QuadraticModel({"a": 0.1, "b": 0.2}, {("a", "b"): 0.3}, 0.0, "SPIN")
    yield "model", lambda v: fg.from_dimod(v), ()
    yield "model quadratic", lambda v: fg.from_dimod(pair._replace(linear=v)), ()
    yield "linear", lambda v: fg.from_dimod(pair._replace(linear={"a": v, "b": 0.0})), ALSO_NEGATIVE
    yield "quadratic", lambda v: fg.from_dimod(pair._replace(quadratic={("a", "b"): v})), ALSO_NEGATIVE
    yield "offset", lambda v: fg.from_dimod(pair._replace(offset=v)), ALSO_NEGATIVE
    yield "vartype", lambda v: fg.from_dimod(pair._replace(vartype=v)), ()
    yield "name", lambda v: fg.from_dimod(pair, name=v), ("text", "digits")
    yield "beta", lambda v: fg.from_dimod(pair, beta=v), NUMBER


def to_dimod_rows() -> Iterator[Row]:
    yield "model", lambda v: fg.to_dimod(v), ()
    yield "vartype", lambda v: fg.to_dimod(ring(), vartype=v), ()
    yield "offset", lambda v: fg.to_dimod(ring(), offset=v), ALSO_NEGATIVE


def result_rows(name: str) -> Iterator[Row]:
    result: Any = fg.infer(ring()) if name == "Result" else fg.exact(ring())
    yield "name", lambda v: result[v], ()
    yield "name", lambda v: result.covariance(v), ()
    if name == "Result":
        yield "factor", lambda v: result.pairs(v), ()
        yield "factor", lambda v: result.sent(v, "s"), ()
        own = result.graph.layout.model.factors[0]
        yield "argument", lambda v: result.sent(own, v), ()
    else:
        yield "factor", lambda v: result.pairs(v), ()


#: By export: its rows, or the reason why it has none.
ENTRIES: dict[str, Any] = {
    "Graph": graph_rows,
    "Model": model_rows,
    "Variable": variable_rows,
    "Selection": selection_rows,
    "infer": infer_rows,
    "decimate": lambda: search_rows("decimate"),
    "reinforce": lambda: search_rows("reinforce"),
    "Solution": "a result",
    "decode": decode_rows,
    "Decoded": "a result",
    "JointCovariance": "a result",
    "Mixed": "a result",
    "Message": "a result",
    "exact": exact_rows,
    "Spectral": spectral_rows,
    "from_networkx": from_networkx_rows,
    "from_bipartite": from_bipartite_rows,
    "from_dimod": from_dimod_rows,
    "from_pgmpy": lambda: [("model", fg.from_pgmpy, ())],
    "to_dimod": to_dimod_rows,
    "QuadraticModel": "a result",
    "to_networkx": to_networkx_rows,
    "draw": draw_rows,
    "check_factor": check_factor_rows,
    "load_model": lambda: file_rows("load_model"),
    "save_model": lambda: file_rows("save_model"),
    **{
        name: lambda name=name: uai_rows(name)
        for name in (
            "read_uai",
            "read_uai_evidence",
            "read_uai_solution",
            "write_uai",
            "write_uai_evidence",
            "write_uai_solution",
        )
    },
    **{name: lambda name=name: parity_check_rows(name) for name in ("from_parity_checks", "read_alist", "write_alist")},
    "Result": lambda: result_rows("Result"),
    "Exact": lambda: result_rows("Exact"),
    **{
        name: lambda name=name: factor_rows(name)
        for name in (*fg.factors.__all__, "Bilinear")
        if name != "Selection" and not name.startswith("_")
    },
    "FactorCheck": "a result",
    "Status": "values of results",
    "Factor": "a protocol",
    "CavityWarning": "a warning",
    "ContradictionError": "an error",
    "IndefiniteError": "an error",
    "ModelError": "an error",
    "TooLargeError": "an error",
    "show_versions": "without arguments",
}


def test_every_entry_point_has_its_rows():
    """Or a word on why a user calls nothing there."""
    assert ENTRIES.keys() == {*fg.__all__, *fg.factors.__all__}


@pytest.mark.parametrize("name", sorted(name for name, rows in ENTRIES.items() if callable(rows)))
def test_entry_points(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ENTRIES[name]
    # A look-up raises the KeyError of mappings, and a file that is not there an OSError; both name the argument.
    for argument, call, accepts in rows():
        errors = (ValueError, TypeError, KeyError, OSError) if argument in ("name", "path") else (ValueError, TypeError)
        check_refusals(call, *argument.split(), accepts=accepts, errors=errors)


#: A right value for each argument of the constructors that have any.
CONSTRUCTED: dict[str, tuple[Any, dict[str, tuple[Any, tuple[str, ...]]]]] = {
    "Identity": (channels.Identity, {"noise": (0.5, NUMBER)}),
    "Logistic": (channels.Logistic, {"temperature": (1.0, NUMBER), "threshold": (0.0, ALSO_NEGATIVE)}),
    "Probit": (channels.Probit, {"slope": (1.0, ("float", "inf")), "threshold": (0.0, ALSO_NEGATIVE)}),
    "Numeric": (
        channels.Numeric,
        {
            "activation": (np.tanh, ("lambda",)),
            "breakpoints": ((), (*ALSO_NEGATIVE, "empty list", "nested", "empty array", "column")),
            "noise": (0.5, NUMBER),
            "name": (None, ("None", "text", "digits")),
        },
    ),
    "Argmax": (channels.Argmax, {"form": ("exact", ()), "nodes": (16, ()), "noise": (0.5, NUMBER)}),
    "Softmax": (channels.Softmax, {"form": ("exact", ()), "temperature": (1.0, NUMBER)}),
    "Binary": (priors.Binary, {"field": (0.3, ALSO_NEGATIVE)}),
    "AsymmetricAbsolute": (channels.AsymmetricAbsolute, {"shift": (0.5, ALSO_NEGATIVE)}),
    "HardSigmoid": (channels.HardSigmoid, {"width": (2.5, NUMBER)}),
    "LeakyReLU": (channels.LeakyReLU, {"slope": (0.1, ALSO_NEGATIVE)}),
    "SymmetricDoor": (channels.SymmetricDoor, {"width": (1.0, NUMBER)}),
    "Exponential": (priors.Exponential, {"scale": (1.0, NUMBER)}),
    "GaussBernoulli": (
        priors.GaussBernoulli,
        {"density": (0.3, ()), "mean": (0.3, ALSO_NEGATIVE), "variance": (0.3, NUMBER)},
    ),
    "Gaussian": (priors.Gaussian, {"mean": (0.3, ALSO_NEGATIVE), "precision": (0.3, NUMBER)}),
    "GaussianMixture": (
        priors.GaussianMixture,
        {"weights": ([1.0], ()), "means": ([0.0], ()), "variances": ([1.0], ())},
    ),
    "GroupSparse": (priors.GroupSparse, {"density": (0.3, ()), "covariance": ([[1.0]], ())}),
    "Laplace": (priors.Laplace, {"scale": (1.0, NUMBER)}),
    "Positive": (priors.Positive, {"mean": (0.3, ALSO_NEGATIVE), "variance": (1.0, NUMBER)}),
    "Ternary": (priors.Ternary, {"mass": (0.3, ())}),
    "Mixture": (priors.Mixture, {"atoms": ([0.0], ()), "weights": ([1.0], ())}),
    **{
        name: (getattr(channels, name), {}) for name in ("Absolute", "HardTanh", "Heaviside", "Poisson", "ReLU", "Sign")
    },
}
ABSTRACT = {"Channel", "ChannelValues", "ObservedValues", "Prior", "PriorValues"}

#: NaN stands for what is not known, and any shape broadcasts.
ARRAY = ("float", "negative", "nan", "inf", "empty list", "empty array", "column", "nested", "NaN array")
POSITIVE = ("float", "inf", "nested", "column", "empty array", "empty list")


def made(name: str, /, **changes: Any) -> Any:
    cls, arguments = CONSTRUCTED[name]
    return cls(**{what: value for what, (value, _) in arguments.items()} | changes)


@pytest.mark.parametrize("name", sorted({*channels.__all__, *priors.__all__} - ABSTRACT))
def test_parameters_of_channels_and_priors(name):
    for argument, (_, accepts) in CONSTRUCTED[name][1].items():
        check_refusals(lambda v, what=argument: made(name, **{what: v}), argument, accepts=accepts)


@pytest.mark.parametrize("name", sorted({*channels.__all__} - ABSTRACT - {"Argmax", "Softmax"}))
def test_arguments_of_channels(name):
    channel, rng = made(name), np.random.default_rng(0)
    right = {"B": 0.1, "A": 0.2, "omega": 0.3, "V": 0.4}
    y = 1.0
    with np.errstate(all="ignore"):
        if name != "Poisson":
            for method in (channel.evaluate, channel.moments, channel.derivatives):
                for what in right:
                    check_refusals(lambda v, m=method, w=what: m(**right | {w: v}), what, "activation", accepts=ARRAY)
        given = {what: right[what] for what in ("omega", "V")}
        for what in given:
            check_refusals(lambda v, w=what: channel.observe(y, **given | {w: v}), what, "activation", accepts=ARRAY)
        check_refusals(lambda v: channel.observe(v, **given), "y", "activation", accepts=ARRAY)
        check_refusals(channel, "z", accepts=ARRAY)
        check_refusals(lambda v: channel.sample(v, rng), "z", accepts=ARRAY)
    if type(channel).sample is not channels.Channel.sample:
        check_refusals(lambda v: channel.sample(0.3, v), "rng")


@pytest.mark.parametrize("channel", [channels.Argmax(), channels.Softmax()], ids=repr)
def test_arguments_of_argmax(channel):
    rng = np.random.default_rng(0)
    omega, V, y = np.ones((3, 7)), np.ones((3, 7)), np.zeros(7, dtype=int)
    columns = ("float", "negative", "nan", "inf", "nested")  # NaN is no error of a mean; the others broadcast
    for call in (
        lambda **k: channel.observe(y, **{"omega": omega, "V": V} | k),
        lambda **k: channel.log_probabilities(**{"omega": omega, "V": V} | k),
        lambda **k: channel.probabilities(**{"omega": omega, "V": V} | k),
    ):
        check_refusals(lambda v, c=call: c(omega=v), "omega", "y", "V", "axis", accepts=(*columns, "empty array"))
        check_refusals(lambda v, c=call: c(V=v), "V", accepts=NUMBER)
        check_refusals(lambda v, c=call: c(axis=v), "axis")
    check_refusals(lambda v: channel.observe(v, omega=omega, V=V), "y")
    check_refusals(lambda v: channel(np.ones((3, 7)), axis=v), "axis")
    check_refusals(channel, "z", accepts=("NaN array", "column", "nested"))
    single = channels.Argmax("single_jensen")
    check_refusals(lambda v: single.observe(y, omega=omega, V=V, rng=v), "rng")
    assert single.observe(y, omega=omega, V=V, rng=rng).phi.shape == (7,)


@pytest.mark.parametrize("name", sorted({*priors.__all__} - ABSTRACT))
def test_arguments_of_priors(name):
    prior, rng = made(name), np.random.default_rng(0)
    right = {"H": [0.1], "G": [[0.2]]} if name == "GroupSparse" else {"H": 0.1, "G": 0.2}
    with np.errstate(all="ignore"):
        for method in (prior.evaluate, prior.moments):
            for what in right:
                check_refusals(lambda v, m=method, w=what: m(**right | {w: v}), what, "G", accepts=ARRAY)
    check_refusals(lambda v: prior.sample(v, rng), "size", accepts=("empty list",))
    check_refusals(lambda v: prior.sample(3, v), "rng")


def test_values_are_wrong_indeed():
    """A check that never fails would be none: a call that takes everything, and one that blames nothing."""

    def blame_nothing(value):
        raise ValueError("something is wrong")

    for call in (lambda value: None, blame_nothing, lambda value: {}["x"]):
        with pytest.raises(AssertionError):
            check_refusals(call, "x")
    assert len(WRONG) > 20
