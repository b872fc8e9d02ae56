"""Results in files, as ``--json`` writes them: read, and every field that is shown or drawn checked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepnet.bench import BenchError
from deepnet.bench.contenders import BASELINES, NETWORKS
from deepnet.bench.scaling import AXES
from deepnet.kernels.devices import DEVICES
from deepnet.network import ACTIVATIONS
from factorgraph.dense.closures import CLOSURES
from factorgraph.interface.arguments import check_choice, check_instance, check_integer, check_number
from factorgraph.io.files import parse_json, read_bytes

#: Bytes that a file may have; a case takes some thousands.
_LONGEST = 1 << 26

#: Largest of the whole numbers in a file.
_LARGEST = 10**18

#: A check of a value under a name.
_Check = Callable[[str, Any], object]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the results in a file.

    Raises:
        BenchError: it cannot be read, or is no such file; names the field.
    """
    try:
        document = check_instance("document", parse_json(read_bytes(path, _LONGEST)), dict, "a JSON object")
        _object("machine", document.get("machine"), {})
        _object("protocol", document.get("protocol"), {})
        return _each(_result)("results", document.get("results"))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BenchError(f"{path} must hold results that --json wrote: {reason}") from error


def _object(name: str, value: Any, checks: Mapping[str, _Check]) -> dict[str, Any]:
    """Return a JSON object with at least the fields that are checked."""
    found = check_instance(name, value, dict, "a JSON object")
    if missing := [field for field in checks if field not in found]:
        raise ValueError(f"`{name}` must have the fields {', '.join(checks)}, and lacks {', '.join(missing)}")
    for field, check in checks.items():
        check(f"{name}.{field}", found[field])
    return found


def _each(check: _Check, minimum: int = 0) -> Callable[[str, Any], list[Any]]:
    def every(name: str, value: Any) -> list[Any]:
        found = check_instance(name, value, list, "a list")
        if len(found) < minimum:
            raise ValueError(f"`{name}` must have at least {minimum} elements, got {len(found)}")
        for number, element in enumerate(found):
            check(f"{name}[{number}]", element)
        return found

    return every


def _or_none(check: _Check) -> _Check:
    return lambda name, value: None if value is None else check(name, value)


def _whole(minimum: int) -> _Check:
    return lambda name, value: check_integer(name, value, minimum=minimum, maximum=_LARGEST)


def _positive(name: str, value: Any) -> float:
    return check_number(name, value, above=0)


def _not_negative(name: str, value: Any) -> float:
    return check_number(name, value, minimum=0)


def _share(name: str, value: Any) -> float:
    return check_number(name, value, minimum=0, maximum=1)


def _density(name: str, value: Any) -> float:
    return check_number(name, value, above=0, maximum=1)


def _among(*choices: str) -> _Check:
    return lambda name, value: check_choice(name, value, choices)


def _result(name: str, value: Any) -> None:
    """What ``measure`` returns, with the axis and the value of a scaling study."""
    found = _object(name, value, {"axis": _or_none(_among(*AXES)), "value": _or_none(_positive), "case": _case})
    if (found["axis"] is None) != (found["value"] is None):
        raise ValueError(f"`{name}` must have both an axis and a value, or neither")
    _object(name, value, {"contenders": _each(_row, minimum=1)})
    rounds = {
        len(row[field]) for row in found["contenders"] for field in ("seconds", "ratios") if row[field] is not None
    }
    if len(rounds) > 1:
        raise ValueError(f"`{name}.contenders` must all have as many rounds, got {sorted(rounds)}")


def _case(name: str, value: Any) -> None:
    checks: dict[str, _Check] = {
        "widths": _each(_whole(1), minimum=2),
        "batch_size": _whole(1),
        "samples": _whole(1),
        "weights": _among(*NETWORKS),
        "activation": _among(*ACTIVATIONS),
        "density": _density,
        "device": _among(*DEVICES),
        "threads": _whole(1),
    }
    _object(name, value, checks)


def _row(name: str, value: Any) -> None:
    found = _object(name, value, _ROW)
    if (found["ratios"] is None) != (found["median_ratio"] is None):
        raise ValueError(f"`{name}` must have both ratios and a median_ratio, or neither")


def _limits(name: str, value: Any) -> None:
    _object(name, value, {"flops": _positive, "bytes": _positive, "evaluations": _or_none(_positive)})


def _memory(name: str, value: Any) -> None:
    _object(name, value, dict.fromkeys(("peak", "own", "device"), _or_none(_whole(0))))


_ROW: dict[str, _Check] = {
    "name": _among(*BASELINES, *CLOSURES),
    "after": _whole(0),
    "weights": _whole(1),
    "polarization": _or_none(_each(check_number)),
    "batches": _whole(1),
    "epoch_batches": _whole(1),
    "seconds": _each(_positive, minimum=1),
    "median_seconds": _positive,
    "ratios": _or_none(_each(_positive, minimum=1)),
    "median_ratio": _or_none(_positive),
    "flops": _not_negative,
    "evaluations": _not_negative,
    "share": _or_none(_share),
    "limits": _limits,
    "memory": _memory,
}
