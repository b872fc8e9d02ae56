"""Model files that somebody changed: in their bytes, members, arrays and text, each change drawn from a generator."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from factorgraph import Graph, Linear, LinearMap, Model, Neurons, Pairwise, Parity, PSpin, Sum
from factorgraph.channels import Probit, ReLU, Sign
from factorgraph.factors import Bilinear
from factorgraph.model.description import Variable
from factorgraph.priors import Binary, GaussBernoulli, Gaussian, Mixture

Members = list[tuple[str, bytes]]


def spins() -> Model:
    graph = Graph()
    s = graph.spins("s", (2, 3), field=np.linspace(-1.0, 1.0, 6).reshape(2, 3), prior=Binary(0.2))
    graph.add(Pairwise(s[:-1], s[1:], coupling=np.array([[0.5, -0.3, 0.1]])))
    graph.add(PSpin(s[0, 0], s[1, 1], s[1, 2], coupling=0.7))
    graph.add(Parity(s[0, 1], s[1, 0], sign=-1))
    return graph.model


def reals() -> Model:
    graph = Graph()
    s = graph.spins("s", 2)
    x = graph.reals("x", 4, field=[0.1, 0.2, 0.3, 0.4], precision=2.0)
    y = graph.reals("y", 4, prior=GaussBernoulli(0.3, 0.5, 2.0), observed=True)
    graph.reals("v", 2, prior=Mixture([0.0, 1.0], [0.3, 0.7]))
    graph.add(Linear(x[:2], x[2:], s, coefficients=[1.0, -1.0, 0.5], target=[0.3, 0.4], noise=0.5))
    graph.add(Sum(y[:2], x[:2], x[2:], channel=ReLU(), coefficients=np.ones((2, 2))))
    graph.add(Sum(s[0], x[3], channel=Probit(np.inf)))
    return graph.model


def vectors() -> Model:
    graph = Graph()
    x = graph.vectors("x", 4, 2, precision=[[2.0, 0.5], [0.5, 1.0]], field=[1.0, 0.0])
    graph.add(Linear(x[1:], x[:-1], coefficients=[np.eye(2), -np.eye(2)], target=0.1, noise=0.3))
    return graph.model


def network() -> Model:
    variables = [
        Variable("w", ("out", "in"), Binary(), field=0.1),
        Variable("x", ("in", "n"), observed=True),
        Variable("y", ("out", "n"), observed=True, spin=True),
    ]
    mask = np.array([[True, True, False], [True, False, True]])
    factors = [Bilinear("y", "w", "x", Sign(), scale=0.5, mask=mask)]
    return Model.of({"out": 2, "in": 3, "n": 2}, variables, factors)


def mapped() -> Model:
    graph = Graph()
    x = graph.reals("x", (1, 3), prior=Gaussian(), shared=True)
    z = graph.reals("z", (1, 2), shared=True)
    s = graph.spins("s", 2)
    a = graph.reals("a", 1, prior=Gaussian())
    graph.add(LinearMap(z, x, matrix=np.arange(6.0).reshape(2, 3)))
    graph.add(Neurons(s[0], [s[1]], [a[0]], channel=Sign(), scale=2.0))
    return graph.model


MODELS: dict[str, Callable[[], Model]] = {f.__name__: f for f in (spins, reals, vectors, network, mapped)}

#: Instead of a value of the text.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2.5, -1e308, 1e308, 1e-320, float("nan"), float("inf"), 2**31, 2**63, 10**400,
    "", "s", "x", "\ud800", "a0", [], {}, [1], {"tuple": []}, {"array": "a0"}, {"array": "a1"}, {"array": "a99"},
    {"array": None}, {"class": "Sign", "fields": {}}, {"class": "Binary", "fields": {"field": 1.0}},
    {"class": "Numeric", "fields": {}}, {"class": "Variable", "fields": {}}, {"class": "Function", "fields": {}},
    {"class": [], "fields": {}},
    {"class": "Selection", "fields": {"name": "s", "indices": {"array": "a0"}, "dimension": 0}},
]  # fmt: skip


def read(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def write(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return stream.getvalue()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    return stream.getvalue()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes, of which one kind is drawn for all."""
    change = CHANGES[rng.integers(len(CHANGES))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of doubled names
        for _ in range(rng.integers(1, 4)):
            data = change(data, rng)
    return data


def _bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Other bytes in some places, pieces cut out, doubled, moved, or the end cut off."""
    if len(data) < 4:
        return data
    a, b = sorted(rng.integers(len(data), size=2).tolist())
    piece = bytes(rng.integers(256, size=rng.integers(1, 9), dtype=np.uint8))
    near, bit = max(0, a - 8), 1 << int(rng.integers(8))
    options = [
        data[:a] + piece + data[a + len(piece) :], data[:a] + bytes([data[a] ^ bit]) + data[a + 1 :],
        data[:a], data[a:], data[:a] + data[b:], data[:b] + data[a:], data[:a] + piece + data[a:],
        data[:near] + data[a:],
    ]  # fmt: skip
    return options[rng.integers(len(options))]


def _members(data: bytes, rng: np.random.Generator) -> bytes:
    """Members dropped, doubled, renamed, swapped, compressed, or with other bytes under a right checksum."""
    try:
        members = read(data)
    except Exception:  # not read any more after a change before
        return data
    if not members:
        return data
    i, j = rng.integers(len(members), size=2)
    (name, content), (other, swapped) = members[i], members[j]
    kind = rng.integers(7)
    if kind == 0:
        members.pop(i)
    elif kind == 1:
        members[i], members[j] = (name, swapped), (other, content)
    elif kind == 2:
        members[i] = (("../" + name, "a99.npy", name[:-4], "model.npy.npy", "é.npy")[rng.integers(5)], content)
    elif kind == 3:
        return write(members, zipfile.ZIP_DEFLATED)
    elif kind == 4:
        members.append((f"a{len(members)}.npy", content))
    else:
        members[i] = (name, _bytes(content, rng))
    return write(members)


def _arrays(data: bytes, rng: np.random.Generator) -> bytes:
    """An array replaced by one of other values, shape or type, or with a header that claims something else."""
    try:
        members = read(data)
        i = int(rng.integers(1, len(members)))
        array = np.lib.format.read_array(io.BytesIO(members[i][1]))
        shape = array.shape
        assert max(shape, default=0) < 10**6
    except Exception:
        return data
    size = max(1, array.size)
    pool: list[Any] = [
        np.zeros(0), np.zeros((0, 3)), np.full(shape, np.nan), np.full(shape, np.inf), np.full(shape, 1e308),
        np.ones((2, 2)), np.ones(size + 1), np.ones(1000), np.array(0.3), np.ones(shape) * 1j, np.full(shape, -7),
        np.full(shape, 2**62), np.full(shape, 10**6), np.full(shape, 1, np.uint8), np.full(shape, True),
        np.full(shape, "x"), np.full(shape, None), np.full(shape, 0.5, ">f8"), np.full(shape, 3.7, np.float16),
        np.asfortranarray(np.ones((*shape, 2))), np.zeros(shape, "i4,f8"), np.zeros(shape, "M8[s]"), array[..., None],
        rng.permutation(array.ravel()).reshape(shape), array[None], array.ravel()[:-1],
    ]  # fmt: skip
    content = npy(pool[rng.integers(len(pool))])
    if rng.random() < 0.3:
        stream = io.BytesIO()
        claims = [(10**15,), (2**62, 2**62), (-1,), (0, 10**18), (1,) * 70, (True,), ("x",), (10**400,)]
        header = {"descr": "<f8", "fortran_order": bool(rng.integers(2)), "shape": claims[rng.integers(len(claims))]}
        np.lib.format.write_array_header_2_0(stream, header)
        content = stream.getvalue() + members[i][1][128:]
    members[i] = (members[i][0], content)
    return write(members)


def _text(data: bytes, rng: np.random.Generator) -> bytes:
    """A value of the text replaced, removed, moved, doubled or nested deeply."""
    try:
        members = read(data)
        content = json.loads(np.lib.format.read_array(io.BytesIO(members[0][1])).tobytes())
    except Exception:
        return data
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(item, (dict, list)):
                walk(item)

    walk(content)
    if not places:
        return data
    (holder, key), (source, other) = (places[i] for i in rng.integers(len(places), size=2))
    kind = rng.integers(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder["other"] = holder[key]
    elif kind == 2:
        holder[key] = json.loads(json.dumps(source[other]))
    elif kind == 3:
        holder[key] = [holder[key]]
    else:
        holder[key] = VALUES[rng.integers(len(VALUES))]
    text = json.dumps(content)
    if rng.random() < 0.05:
        text = text.replace("null", "[" * 100_000 + "]" * 100_000, 1)
    elif rng.random() < 0.05:
        text = text.replace("1", "9" * 5000, 1)
    members[0] = (members[0][0], npy(np.frombuffer(text.encode(), dtype=np.uint8)))
    return write(members)


CHANGES = [_bytes, _members, _arrays, _text, _text]
