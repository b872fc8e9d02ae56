"""Values that change over a run: a hyper-parameter is a constant or relaxes exponentially from one value to another."""

from dataclasses import dataclass


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

    def __call__(self, epoch: float) -> float:
        """Value after ``epoch`` epochs."""
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
        """A schedule from a number or its written form.

        Raises:
            ValueError: if ``value`` is neither, naming ``name``.
        """
        if isinstance(value, Schedule):
            return value
        try:
            numbers = [float(part) for part in value.split(":")] if isinstance(value, str) else [float(value)]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) == 1:
            return cls(numbers[0], numbers[0], 0.0)
        if len(numbers) == 3 and 0 <= numbers[2] <= 1:
            return cls(*numbers)
        raise ValueError(f"`{name}` must be a number or 'start:end:rate' with a rate in [0, 1], got {value!r}")


def _written(value: float) -> str:
    """The shortest decimal that reads back as ``value``, without a trailing ".0"."""
    return repr(float(value)).removesuffix(".0")
