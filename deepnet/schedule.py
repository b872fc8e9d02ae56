"""Values that change over a run: a hyper-parameter is a constant or relaxes exponentially from one value to another."""

from dataclasses import dataclass

from factorgraph.interface.arguments import check_flag, check_number, shown

#: What follows the rate of a whole run.
_OF_RUN = "/run"


@dataclass(frozen=True)
class Schedule:
    """end + (start - end) · rate^t, where t counts the epochs or is the part of the run that is over.

    t is fractional and grows batch by batch. Written ``"0.8"`` (a constant), ``"8:1:0.7"`` (start:end:rate, by the
    epoch) or ``"8:1:0.1/run"`` (by the run, whose length does not matter then).

    Attributes:
        start: value at the beginning.
        end: value in the long run.
        rate: factor on the distance to ``end`` of every epoch, or of the whole run; in [0, 1].
        of_run: whether ``rate`` is that of the whole run.
    """

    start: float
    end: float
    rate: float
    of_run: bool = False

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        object.__setattr__(self, "rate", check_number("rate", self.rate, minimum=0, maximum=1))
        object.__setattr__(self, "of_run", check_flag("of_run", self.of_run))

    def __call__(self, epoch: float, epochs: int) -> float:
        """Return the value after ``epoch`` of ``epochs`` epochs; a run that goes on after them keeps its last value."""
        if self.start == self.end:
            return self.start
        t = min(epoch / max(epochs, 1), 1.0) if self.of_run else epoch
        return self.end + (self.start - self.end) * self.rate**t

    def __str__(self) -> str:
        if self.start == self.end:
            return _written(self.start)
        return ":".join(_written(value) for value in (self.start, self.end, self.rate)) + _OF_RUN * self.of_run

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
        of_run = isinstance(value, str) and value.endswith(_OF_RUN)
        parts = value.removesuffix(_OF_RUN).split(":") if isinstance(value, str) else [value]
        try:
            numbers = [check_number(name, float(part) if isinstance(part, str) else part) for part in parts]
            if len(numbers) == 1 and not of_run:
                return cls(numbers[0], numbers[0], 0.0)
            start, end, rate = numbers
            return cls(start, end, rate, of_run)
        except ValueError:
            need = "a number, 'start:end:rate' or 'start:end:rate/run', with a rate in [0, 1]"
            raise ValueError(f"`{name}` must be {need}, got {shown(value)}") from None


def _written(value: float) -> str:
    """Return the shortest decimal that reads back as ``value``, without a trailing ".0"."""
    return repr(float(value)).removesuffix(".0")
