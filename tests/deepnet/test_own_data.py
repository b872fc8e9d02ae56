"""Data of the user's own: files of every kind, what is learned of their columns, and errors that name the place."""

import csv
import gzip
import io
import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import arff
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.average import class_probabilities
from deepnet.data import DataError, Dataset, Files, load_dataset, load_files
from deepnet.data.fitting import fit_preparation, preparation_from_json
from deepnet.data.own import READERS, read_pieces, read_table
from deepnet.data.preparation import Pixels
from deepnet.data.table import MISSING, Table, joined, texts
from deepnet.data.target import Classes
from factorgraph.io.files import parse_json

IRIS = load_iris()
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


def write_csv(path: Path, rows: list[list[Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def iris_rows() -> list[list[Any]]:
    """The flowers, with a column of colours, and some values missing."""
    rows: list[list[Any]] = [[*NAMES, "colour", "species"]]
    for i, (values, label) in enumerate(zip(IRIS.data, IRIS.target, strict=True)):
        colour = ["red", "pale, blue", ""][(i + label) % 3]
        rows.append([*values, colour, IRIS.target_names[label]])
    rows[8][1] = "NA"
    return rows


@pytest.fixture
def iris(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "iris.csv", iris_rows())


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + big.tobytes()


# --- files of every kind ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("packed", [False, True])
def test_csv(delimiter: str, packed: bool, tmp_path: Path) -> None:
    rows = [["a", " b ", "quoted\nname"], ["1", "x y", ""], [" 2.5", "?", 'say "x"'], ["NA", "ü", "3\n4"]]
    path = write_csv(tmp_path / "data.csv", [[*rows[0][:2], "c"], *rows[1:]], delimiter)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n2.5", b"\r\n\r\n2.5"))
    if packed:
        (tmp_path / "data.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "data.csv.gz"
    table = read_table(path)
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "a": ["1", "2.5", ""], "b": ["x y", "", "ü"], "c": ["", 'say "x"', "3\n4"],
    }  # fmt: skip
    assert table.places.tolist() == [2, 3, 4] and table.unit == "line"


def test_arff_as_scipy_reads_it(tmp_path: Path) -> None:
    text = """% a comment
@RELATION flowers
@attribute 'petal length' REAL
@attribute width numeric
@attribute species {setosa, of-virginia, x}
@DATA
1.5, 2, setosa
% another
?, -3e2, of-virginia

4,?,x
"""
    (tmp_path / "flowers.arff").write_text(text)
    table = read_table(tmp_path / "flowers.arff")
    data, _ = arff.loadarff(io.StringIO(text))
    for name in ("petal length", "width"):
        np.testing.assert_array_equal(table.columns[name], data[name])
    assert table.columns["species"].tolist() == ["setosa", "of-virginia", "x"]
    assert table.categorical == {"species"} and table.places.tolist() == [7, 9, 11]
    mixed = text.replace(", x}", """, "x", 'it\\'s'}""").replace("?,x", """?, "x" """)
    mixed = mixed.replace("2, setosa", "2, 'setosa'")
    (tmp_path / "flowers.arff").write_text(mixed)
    assert read_table(tmp_path / "flowers.arff").columns["species"].tolist() == table.columns["species"].tolist()


@pytest.mark.parametrize("packed", [False, True])
def test_arrays(packed: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, pictures, y = rng.standard_normal((11, 3)), rng.integers(0, 255, (11, 4, 5), dtype=np.uint8), np.arange(11) % 3
    (np.savez_compressed if packed else np.savez)(tmp_path / "all.npz", X=X, label=y.astype(str))
    table = joined(list(read_pieces(tmp_path / "all.npz", size=4)))
    np.testing.assert_array_equal(np.stack([table.columns[f"X[{j}]"] for j in range(3)], axis=1), X)
    assert table.columns["label"].tolist() == y.astype(str).tolist()

    def written(name: str, content: bytes) -> Path:
        path = tmp_path / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
        return path

    buffer = io.BytesIO()
    np.save(buffer, X)
    table = joined(list(read_pieces(written("X.npy", buffer.getvalue()), size=4)))
    np.testing.assert_array_equal(np.stack([table.columns[str(j)] for j in range(3)], axis=1), X)
    pair = written("some-pictures", idx(pictures)), written("their.labels", idx(y.astype(np.int32), 0x0C))
    table = joined(list(read_pieces(pair[0], "y", pair[1], size=4)))
    np.testing.assert_array_equal(table.columns["x"], pictures)
    np.testing.assert_array_equal(table.columns["y"], y)
    assert table.places.tolist() == list(range(11))


def test_structured_arrays_have_names(tmp_path: Path) -> None:
    records = np.array([(1.5, "x"), (2.5, "yy")], dtype=[("width", "f4"), ("kind", "U5")])
    np.save(tmp_path / "records.npy", records)
    table = read_table(tmp_path / "records.npy")
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "width": [1.5, 2.5],
        "kind": ["x", "yy"],
    }


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs PyArrow")
    import pyarrow.parquet as parquet

    columns = {
        "width": pyarrow.array([1.5, None, 3.0]),
        "count": pyarrow.array([1, 2, None]),
        "kind": pyarrow.array(["a", None, "b"]).dictionary_encode(),
        "flag": pyarrow.array([True, False, True]),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "data.parquet")
    table = joined(list(read_pieces(tmp_path / "data.parquet", size=2)))
    np.testing.assert_array_equal(table.columns["width"], [1.5, np.nan, 3.0])
    np.testing.assert_array_equal(table.columns["count"], [1, 2, np.nan])
    assert table.columns["kind"].tolist() == ["a", "", "b"] and table.columns["flag"].tolist() == [1, 0, 1]
    assert table.categorical == {"kind"}


@pytest.mark.parametrize("ending", [*READERS, ".idx"])
def test_damaged_files(ending: str, tmp_path: Path) -> None:
    """Whatever the bytes, an error that names the file."""
    rng = np.random.default_rng(0)
    path = tmp_path / f"damaged{ending}"
    for size in (0, 1, 7, 100):
        path.write_bytes(b"\xff" + rng.bytes(size))
        with pytest.raises(DataError, match="damaged"):
            read_table(path)
    for suffix in ("", ".gz"):
        packed = tmp_path / f"damaged{ending}{suffix}"
        packed.write_bytes(gzip.compress(b"a,b\n1,2\n")[:-9] if suffix else b"")
        with pytest.raises(DataError, match="damaged"):
            read_table(packed)


# --- what is learned of the columns -----------------------------------------------------------------------------------

_NUMBER = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_subnormal=False))
_CATEGORY = st.one_of(st.none(), st.sampled_from(["a", "b c", "ü", "10"]))


@st.composite
def tables(draw: Any) -> Table:
    rows = draw(st.integers(2, 12))
    columns: dict[str, np.ndarray] = {}
    for j in range(draw(st.integers(1, 4))):
        values = draw(st.lists(_NUMBER, min_size=rows, max_size=rows))
        values[0] = 0.5 if values[0] is None else values[0]
        columns[f"n{j}"] = texts(["NA" if value is None else repr(value) for value in values])
    for j in range(draw(st.integers(0, 3))):
        values = draw(st.lists(_CATEGORY, min_size=rows, max_size=rows))
        values[0] = "a" if values[0] is None else values[0]
        columns[f"c{j}"] = texts([value or "" for value in values])
    return Table(
        Path("some.csv"), columns, np.arange(2, rows + 2), "line", frozenset(n for n in columns if n[0] == "c")
    )


@given(tables())
@settings(max_examples=15)
def test_columns_are_what_scikit_learn_makes_of_them(table: Table) -> None:
    """Against its transformers, fitted and put together by itself; kept as JSON they are the same to the last bit."""
    rows = np.arange(len(table))
    prepared = fit_preparation(table, rows, ())
    kept = preparation_from_json(parse_json(json.dumps(prepared.to_json())))
    found = prepared.apply(table, "float64")
    assert kept == prepared and found.shape == (len(table), prepared.features)
    np.testing.assert_array_equal(kept.apply(table, "float64"), found)
    for row in rows[:3]:  # a row does not depend on those beside it
        np.testing.assert_array_equal(kept.apply(table.rows([row]), "float64"), found[[row]])

    plain = [name for name in table.columns if name.startswith("n")]
    named = [name for name in table.columns if name.startswith("c")]
    as_numbers = [[np.nan if value == "" else float(value) for value in table.columns[name]] for name in plain]
    frame = np.array([*as_numbers, *(table.columns[name] for name in named)], dtype=object).T
    numeric = make_pipeline(StandardScaler(), SimpleImputer(strategy="constant", fill_value=0.0, add_indicator=True))
    known = [np.array(sorted(set(table.columns[name]) - {""}), dtype=object) for name in named]
    options: dict[str, Any] = {"handle_unknown": "ignore", "sparse_output": False}
    parts: list[Any] = [("numbers", numeric, slice(0, len(plain)))]
    if named:
        parts.append(("categories", OneHotEncoder(categories=known, **options), slice(len(plain), None)))
    both = ColumnTransformer(parts)
    np.testing.assert_allclose(both.fit_transform(frame), found, rtol=1e-12, atol=1e-12)  # sums in another order


def test_mean_squares_are_one(iris: Path) -> None:
    """Numbers have mean 0 and deviation 1 over the training part; what is missing is at the mean, and said to be."""
    data = load_files(Files(iris, "species", test=iris), dtype=np.float64)
    assert data.preparation.features == 4 + 1 + 2 == data.x_train.shape[1]
    np.testing.assert_allclose(data.x_train[:, [0, 2, 3]].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.x_train[:, [0, 2, 3]].std(axis=0), 1, rtol=1e-12)
    (row,) = np.flatnonzero(data.x_train[:, 4])
    assert row == 7 and data.x_train[row, 1] == 0.0


def test_categories_of_numbers_and_left_out_columns(iris: Path) -> None:
    files = Files(iris, "species", categorical=("petal width",), ignore=("colour", "sepal width"))
    data = load_files(files)
    widths = len(set(IRIS.data[:, 3]))
    assert data.preparation.features == 2 + widths and set(np.unique(data.x_train[:, 2:])) == {0.0, 1.0}


def test_splits(iris: Path) -> None:
    data = load_files(Files(iris, "species", stratify=True, test_fraction=0.3))
    assert np.bincount(data.y_train).tolist() == [35, 35, 35] and np.bincount(data.y_test).tolist() == [15, 15, 15]
    again = load_files(Files(iris, "species", stratify=True, test_fraction=0.3))
    other = load_files(Files(iris, "species", stratify=True, test_fraction=0.3), seed=1)
    np.testing.assert_array_equal(data.x_test, again.x_test)
    assert not np.array_equal(data.x_test, other.x_test)
    held = load_files(Files(iris, "species", test=iris))
    assert len(held.x_train) == len(held.x_test) == 150
    np.testing.assert_array_equal(held.x_train, held.x_test)


def test_classes(tmp_path: Path) -> None:
    """Whole numbers in their order, and texts in theirs; two classes are -1 and 1."""
    rows = [["x", "y"]] + [[0.1 * i, str([2, 10, 9][i % 3])] for i in range(30)]
    assert load_files(Files(write_csv(tmp_path / "a.csv", rows), "y")).labels == (2, 9, 10)
    rows = [["x", "y"]] + [[0.1 * i, ["yes", "no"][i % 2]] for i in range(30)]
    data = load_files(Files(write_csv(tmp_path / "b.csv", rows), "y"))
    assert data.labels == ("no", "yes") and set(data.y_train.tolist()) == {-1, 1}


def test_pictures_are_prepared_as_those_of_the_data_sets(tmp_path: Path) -> None:
    """A data set of pictures, written to files of other kinds, is the same data set."""
    known, raw = load_dataset("digits"), load_digits()
    inputs = Pixels.standardise(known.preparation, raw.images, np.float32)  # pyright: ignore[reportArgumentType]
    order = {row.tobytes(): i for i, row in enumerate(inputs)}
    train, test = (np.array([order[row.tobytes()] for row in x]) for x in (known.x_train, known.x_test))
    images, labels = raw.images.astype(np.uint8), raw.target
    parts = {"x_train": images[train], "y_train": labels[train], "x_test": images[test], "y_test": labels[test]}
    np.savez(tmp_path / "digits.npz", **parts)
    names = {name: tmp_path / f"{name}.bytes" for name in parts}
    for name, path in names.items():
        path.write_bytes(idx(parts[name].astype(np.uint8)))
    of_arrays = load_files(Files(tmp_path / "digits.npz", "y"))
    of_idx = load_files(Files(names["x_train"], str(names["y_train"]), names["x_test"], names["y_test"]))
    for data in (of_arrays, of_idx):
        assert isinstance(data, Dataset) and data.preparation == known.preparation
        for name in ("x_train", "x_test", "y_train", "y_test"):
            np.testing.assert_array_equal(getattr(data, name), getattr(known, name))


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (
            5,
            "sepal length",
            "4.x",
            "line 5, column sepal length: must be a finite number (train with --categorical for",
        ),
        (9, "petal width", "inf", "bad.csv, line 9, column petal width: must be a finite number"),
        (9, "petal width", "1e300", "bad.csv, line 9, column petal width: must be within 7"),
        (9, "petal width", "-1e20", "bad.csv, line 9, column petal width: must be within 7"),
        (9, "petal width", "1_0", "bad.csv, line 9, column petal width: must be a finite number"),
        (150, "colour", "green", "bad.csv, line 150, column colour: must be one of pale, blue, red, got 'green'"),
        (3, "species", "rose", "bad.csv, line 3, column species: must be one of the classes setosa, versicolor, virgi"),
        (3, "species", "", "bad.csv, line 3, column species: must be a label, got ''"),
        (1, "petal length", "length", "bad.csv must have a column petal length, got the columns sepal length"),
    ],
)
def test_places_of_wrong_values(
    line: int, column: str, value: str, message: str, iris: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same in a test set and in a file to be predicted, if it is about inputs; nothing is written."""
    rows = iris_rows()
    rows[line - 1][rows[0].index(column)] = value
    bad = write_csv(tmp_path / "bad.csv", rows)
    with pytest.raises(DataError) as caught:
        load_files(Files(iris, "species", test=bad))
    assert message in str(caught.value)
    argv = ["train", str(iris), "--target", "species", "--no-plot", "--epochs", "0"]
    assert main([*argv, "--out", str(tmp_path / "bad"), "--test", str(bad)]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "bad").exists()
    if column != "species":
        assert main([*argv, "--out", str(tmp_path / "run")]) == 0
        assert main(["predict", str(tmp_path / "run"), str(bad), "--out", str(tmp_path / "p.csv")]) == 1
        assert message in capsys.readouterr().err and not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n1,2,x\n1,2\n", "line 3: must have 3 values, one for each column, got 2"),
        ("a,b,y\n1,2,x\n\n1,2,3,4\n", "line 4: must have 3 values, one for each column, got 4"),
        ("a,b,y\n1,2,x\n1,\"2,3\n", "line 3: cannot be read: unexpected end of data"),
        ("a,b,a\n1,2,x\n", "line 1: columns must have different names, got 'a' twice"),
        ("a,,y\n1,2,x\n", "line 1: must name every column"),
        ("1,2,3\n1,2,x\n", "line 1: must name the columns, got numbers"),
        ("a,b,y\n", "must have rows, got none"),
        ("a,b,y\n1,2,x\n3,4,x\n", "column y: must have at least two classes, got ['x']"),
        ("a,b,y\n1,2,w\n3,4,x\n5,6,x\n", "cannot be split into rows for training and testing"),
        ("a,b,z\n1,2,x\n3,4,y\n", "must have a column y, got the columns a, b, z"),
        ("y\nx\nz\nx\nz\n", "must have a column besides the target"),
        ("a,y\nNA,0\n,1\n?,1\n?,0\n", "column a: must have values, all are missing; leave it out by --ignore"),
    ],
)  # fmt: skip
def test_wrong_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load_files(Files(path, "y", stratify=True, test_fraction=0.5))
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_a_table_in_memory_is_a_small_multiple_of_its_numbers(tmp_path: Path) -> None:
    """A text takes 16 bytes, as two numbers do, and a row 8 for its line; Python strings would take 60 and more."""
    values = np.random.default_rng(0).standard_normal((5000, 4))
    rows = [[*(f"{value:.4f}" for value in each), "ab"[int(each[0] > 0)]] for each in values]
    path = write_csv(tmp_path / "data.csv", [["p", "q", "r", "s", "y"], *rows])
    read_table(path)  # with what is loaded by the first call
    tracemalloc.start()
    table = read_table(path)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 3.0 * 8 * (len(table.columns) * len(table))


def test_text_that_is_no_utf8_and_names_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"a,y\n1,x\n\xe4,x\n")
    with pytest.raises(DataError, match=r"data.csv, line 3: must be text in UTF-8"):
        read_table(path)
    write_csv(path, [["id", "y"], *([f"row{i}", i % 2] for i in range(3000))])
    with pytest.raises(DataError, match=r"column id: must be a number.*at most 1000 categories.* got 3000: .*--ignore"):
        load_files(Files(path, "y"))


@pytest.mark.parametrize("rows", [21, 60])
@pytest.mark.parametrize("text", ["{},25", "id {}", "2024-01-02 {}:00", "1 000 {}", "{}%"])
def test_texts_that_never_recur_are_no_categories(text: str, rows: int, tmp_path: Path) -> None:
    """Numbers in another way of writing, dates and names of the rows; silently they were as many classes or inputs."""
    path = tmp_path / "data.csv"
    values = [text.format(i) for i in range(rows)]
    write_csv(path, [["a", "y"], *([value, i % 3] for i, value in enumerate(values))], ";")
    most = max(20, rows // 2)
    with pytest.raises(DataError, match=rf"column a: must be a number.* at most {most} categories in {rows} rows"):
        load_files(Files(path, "y"))
    write_csv(path, [["a", "y"], *([i, value] for i, value in enumerate(values))], ";")
    with pytest.raises(DataError, match=rf"column y: must have at most {most} classes in {rows} rows, or numbers"):
        load_files(Files(path, "y"))
    write_csv(path, [["a", "y"], *([values[i % most], f"class {i % most}"] for i in range(rows))], ";")
    data = load_files(Files(path, "y", test_fraction=0.5))
    assert data.x_train.shape[1] == len(data.labels) == most


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ('"a;b;c",y', ["a;b;c", "y"]),
        ('"price, in EUR";"x, y"', ["price, in EUR", "x, y"]),
        ('"say ""a;b""",y', ['say "a;b"', "y"]),
        ('"two\nlines",y', ["two\nlines", "y"]),
    ],
)
def test_names_of_columns_may_hold_what_separates_them(header: str, names: list[str], tmp_path: Path) -> None:
    path, delimiter = tmp_path / "data.csv", ";" if header.count('";"') else ","
    path.write_text(f"{header}\n1{delimiter}2\n", encoding="utf-8")
    table = read_table(path)
    assert list(table.columns) == names and table.places.tolist() == [2 + header.count("\n")]


def test_a_name_of_a_column_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('"a,y\n1,2\n')
    with pytest.raises(DataError, match=r"data.csv, line 1: cannot be read: unexpected end of data"):
        read_table(tmp_path / "data.csv")


def test_pixels_that_a_network_cannot_hold(tmp_path: Path) -> None:
    pixels = np.ones((6, 2, 2))
    pixels[1] = 3.0
    known = fit_preparation(Table(tmp_path, {"x": pixels}, np.arange(6)), np.arange(6), ())
    for value in (1e300, -1e30):
        pixels[4, 1, 0] = value
        with pytest.raises(DataError, match="row 4, column x: pixels must be within"):
            known.apply(Table(tmp_path, {"x": pixels}, np.arange(6)), np.float32)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            [],
            "`target` must be one of the columns sepal length, sepal width, petal length, petal width, colour, species",
        ),
        (["--target", "species", "--task", "parity"], "`task` must be multiclass for a file"),
        (["--target", "species", "--test-fraction", "1"], "`test_fraction` must be a finite number > 0 and < 1"),
        (["--target", "species", "--test", "{}", "--stratify"], "`test_fraction` and `stratify` must be left out"),
        (["--target", "species", "--test", "{}", "{}"], "`test` must be a file, and that of its labels too if"),
        (["--target", "species", "--test", "{}/no"], "argument --test: must be a file"),
    ],
)
def test_wrong_options(argv: list[str], message: str, iris: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(iris), *(each.format(iris) for each in argv)]) == 2
    assert message in capsys.readouterr().err
    assert main(["train", "digits", "--ignore", "x"]) == 2
    assert "`ignore` must be left out for digits, which is no file" in capsys.readouterr().err


FIELDS: list[tuple[str, Any, str]] = [
    ("numbers", {}, "`preparation.numbers` must be a list"),
    ("kind", "pickle", "`preparation.kind` must be 'pixels' or 'columns'"),
    ("numbers", [{"name": "a", "mean": "0", "scale": 1, "missing": False}], "`preparation.numbers[0].mean` must be"),
    ("numbers", [{"name": "a", "mean": 0, "scale": 0, "missing": False}], "`preparation.numbers[0].scale` must be"),
    ("numbers", [{"name": "a"}], "`preparation.numbers[0]` must have the fields"),
    ("categories", [{"name": "c", "values": ["b", "a"]}], "`preparation.categories[0].values` must be different"),
    ("extra", 1, "`preparation` must have the fields"),
]


@pytest.mark.parametrize(("field", "value", "message"), FIELDS)
def test_a_preparation_is_checked_when_it_is_read(field: str, value: Any, message: str) -> None:
    good = {"kind": "columns", "numbers": [{"name": "a", "mean": 0, "scale": 1, "missing": False}], "categories": []}
    assert preparation_from_json(good).features == 1
    with pytest.raises(ValueError) as caught:
        preparation_from_json(good | {field: value})
    assert message in str(caught.value)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("own")
    data = write_csv(folder / "iris.csv", iris_rows())
    argv = ["train", str(data), "--target", "species", "--stratify", "--out", str(folder / "run"), "--no-plot"]
    assert main(argv) == 0
    return folder / "run"


def test_a_table_is_learned_with_the_settings_of_the_estimator(trained: Path) -> None:
    run = Run.open(trained)
    network = run.load()
    config = run.description.config
    assert (config.hidden, config.bias, config.batch_size, config.epochs) == ((101,), True, 32, 30)
    assert run.history[-1]["bayes_test_error"] <= 7 and run.history[-1]["test_log_loss"] < 0.3
    assert run.description.labels == ("setosa", "versicolor", "virginica") and network.epoch == 30


@pytest.mark.parametrize("out", [[], ["--out", "p.csv"]])
def test_nothing_is_predicted_of_wrong_columns(
    out: list[str], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = write_csv(tmp_path / "new.csv", [["petal_length"], [1.0]])
    assert main(["predict", str(trained), str(wrong), *out]) == 1
    found = capsys.readouterr()
    assert not found.out and "new.csv must have a column" in found.err
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_a_file_whose_labels_are_in_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    assert main(["train", str(tmp_path / "x.npy")]) == 2
    assert "`target` must be the file with the labels of" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["3", "3.5", "a"])
def test_a_constant_target_is_refused(target: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", [["x", "y"], *([i, target] for i in range(9))])
    test = write_csv(tmp_path / "test.csv", [["x", "y"], [0, target], [1, 4 if target != "a" else "b"]])
    kind = "classes" if target == "a" else "numbers"
    what = "at least two classes" if target == "a" else rf"different values .* nothing to learn, got '{target}' only"
    with pytest.raises(DataError, match=rf"train.csv, column y: must have {what}"):
        load_files(Files(path, "y", test=test), kind=kind)


def test_predictions(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns in another order, others among them, none of labels; the same by the functions, whatever the pieces."""
    rows = [[*reversed(row[:-1]), i] for i, row in enumerate(iris_rows())]
    rows[0][-1] = "number"
    new = write_csv(tmp_path / "new.csv", rows)
    assert main(["predict", str(trained), str(new), "--out", str(tmp_path / "p.csv")]) == 0
    assert "150 predictions by epoch 30" in capsys.readouterr().out
    assert main(["predict", str(trained), str(new)]) == 0
    written = (tmp_path / "p.csv").read_text()
    assert capsys.readouterr().out == written
    head, *lines = csv.reader(io.StringIO(written))
    assert head == ["label", "p_setosa", "p_versicolor", "p_virginica"]
    run = Run.open(trained)
    preparation, target = run.description.prepared()
    assert isinstance(target, Classes)
    network = run.load().in_double()
    p = np.concatenate(
        [class_probabilities(network, preparation.apply(t, "float64")) for t in read_pieces(new, size=7)]
    )
    np.testing.assert_allclose(np.array([line[1:] for line in lines], dtype=float), p, rtol=1e-5)
    assert [line[0] for line in lines] == [target.labels[k] for k in p.argmax(axis=1)]
    assert np.mean([line[0] == row[-1] for line, row in zip(lines, iris_rows()[1:], strict=True)]) > 0.93


def test_a_large_file_is_read_in_pieces(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory at one time is a piece."""
    sizes, original = [], class_probabilities

    def watched(network: Any, x: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return original(network, x)

    monkeypatch.setattr("deepnet.average.class_probabilities", watched)
    head, *rows = iris_rows()
    new = write_csv(tmp_path / "new.csv", [head, *(rows * 120)])
    assert main(["predict", str(trained), str(new), "--out", str(tmp_path / "p.csv")]) == 0
    assert sizes == [8192, 8192, 150 * 120 - 2 * 8192]
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert len(lines) == 150 * 120 + 1 and lines[1:151] == lines[-150:]


def test_a_run_goes_on_by_any_path_of_its_file(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = tmp_path / "run", Path(json.loads((trained / "config.json").read_text())["files"]["train"])
    shutil.copytree(trained, run)
    (tmp_path / "link.csv").symlink_to(data)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    for path in ("../link.csv", os.path.relpath(data), str(data.parent / "." / ".." / data.parent.name / data.name)):
        argv = ["train", path, "--out", str(run), "--resume", "--no-plot", "--target", "species"]
        assert main(argv) == 0, capsys.readouterr().err
    shutil.copy(data, tmp_path / "copy.csv")
    assert main(["train", "../copy.csv", "--out", str(run), "--resume", "--no-plot"]) == 2
    assert "`dataset` must stay as it was in a resumed run" in capsys.readouterr().err


def test_predictions_without_an_output(
    trained: Path, iris: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert main(["predict", str(trained), str(iris)]) == 2
    assert "`--out` must be given where the output is closed" in capsys.readouterr().err


def test_resuming_and_evaluating(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = trained.parent / "iris.csv"
    assert main(["evaluate", str(trained), "--json", "--no-plot"]) == 0
    found = json.loads(capsys.readouterr().out)
    last = Run.open(trained)
    last.load()
    for name in ("test_error", "bayes_test_error", "test_log_loss", "test_brier", "test_calibration_error"):
        assert found[name] == last.history[-1][name]
    assert main(["evaluate", str(trained), str(data), "--json", "--no-plot"]) == 0
    assert "train_error" not in (found := json.loads(capsys.readouterr().out)) and found["bayes_test_error"] < 7
    for options, message in (
        (["--target", "colour"], "`target` must stay as it was in a resumed run: the run has species, got colour"),
        (["--ignore", "colour"], "`ignore` must stay as it was"),
    ):
        assert main(["train", str(data), *options, "--resume", "--no-plot", "--out", str(trained)]) == 2
        assert message in capsys.readouterr().err
    content = data.read_bytes()
    try:
        data.write_bytes(content + b"1,1,1,1,red,setosa\n")
        assert main(["train", str(data), "--resume", "--no-plot", "--out", str(trained), "--epochs", "31"]) == 2
        assert "must be as it was when the run began, and has changed" in capsys.readouterr().err
    finally:
        data.write_bytes(content)
    assert main(["train", str(data), "--resume", "--no-plot", "--out", str(trained), "--target", "species"]) == 0


def test_pictures_can_be_predicted_by_a_run_on_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = load_digits().images.astype(np.uint8)
    options = ["--hidden", "31", "--epochs", "8", "--no-plot"]
    assert main(["train", "digits", *options, "--out", str(tmp_path / "run")]) == 0
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "images").write_bytes(idx(images))
    (tmp_path / "labels").write_bytes(idx(load_digits().target.astype(np.uint8)))
    for name in ("images.npy", "images"):
        assert main(["predict", str(tmp_path / "run"), str(tmp_path / name), "--out", str(tmp_path / "p.csv")]) == 0
        labels = [int(line.split(",")[0]) for line in (tmp_path / "p.csv").read_text().splitlines()[1:]]
        assert np.mean(labels == load_digits().target) > 0.9
    capsys.readouterr()
    argv = ["evaluate", str(tmp_path / "run"), str(tmp_path / "images"), "--json", "--no-plot"]
    assert main(argv) == 2 and "`--labels` must be the file with the labels" in capsys.readouterr().err
    assert main([*argv, "--labels", str(tmp_path / "labels")]) == 0
    assert json.loads(capsys.readouterr().out)["bayes_test_error"] == pytest.approx(
        100 * np.mean(labels != load_digits().target), abs=0.06
    )


def test_missing_markers_are_no_categories() -> None:
    assert texts([f" {word} " for word in MISSING]).tolist() == [""] * len(MISSING)
