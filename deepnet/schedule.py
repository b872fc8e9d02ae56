"""Values that change over a run: a hyper-parameter is a constant or relaxes exponentially from one value to another."""

from dataclasses import dataclass

from factorgraph.interface.arguments import check_number, shown


@dataclass(frozen=True)
class Schedule:
    """end + (start - end) · rate^epoch, with a fractional epoch that grows batch by batch.

    Written ``"0.8"`` (a constant) or ``"8:1:0.7"`` (start:end:rate).

    Attributes:
        start: value at the beginning.
        end: value in the long run.
        rate: factor an epoch on the distance to ``end``, in [0, 1].
    """

    start: float
    end: float
    rate: float

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        object.__setattr__(self, "rate", check_number("rate", self.rate, minimum=0, maximum=1))

    def __call__(self, epoch: float) -> float:
        """Return value after ``epoch`` epochs."""
        if self.start == self.end:
            return self.start
        return self.end + (self.start - self.end) * self.rate**epoch

    def __str__(self) -> str:
        if self.start == self.end:
            return _written(self.start)
        return ":".join(_written(value) for value in (self.start, self.end, self.rate))

    @property
    def largest(self) -> float:
        """The larger of the two ends, between which all values lie."""
        return max(self.start, self.end)

    @property
    def smallest(self) -> float:
        """The smaller of the two ends."""
        return min(self.start, self.end)

    @classmethod
    def of(cls, name: str, value: "Schedule | float | str") -> "Schedule":
        """Return a schedule from a number or its written form.

        Raises:
            ValueError: if ``value`` is neither, naming ``name``.
        """
        if isinstance(value, Schedule):
            return value
        parts = value.split(":") if isinstance(value, str) else [value]
        try:
            numbers = [check_number(name, float(part) if isinstance(part, str) else part) for part in parts]
            if len(numbers) == 1:
                return cls(numbers[0], numbers[0], 0.0)
            start, end, rate = numbers
            return cls(start, end, rate)
        except ValueError:
            need = "a number or 'start:end:rate' with a rate in [0, 1]"
            raise ValueError(f"`{name}` must be {need}, got {shown(value)}") from None


def _written(value: float) -> str:
    """Return the shortest decimal that reads back as ``value``, without a trailing ".0"."""
    return repr(float(value)).removesuffix(".0")
