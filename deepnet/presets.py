"""Where ρ, α and β come from if they are not given: schedules found to be good, and the constants of the paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deepnet.schedule import Schedule

Setting = Schedule | float | str


@dataclass(frozen=True)
class Preset:
    """Values of ρ, α and β.

    Attributes:
        rho: ρ of all layers but the last.
        last_rho: ρ of the last layer, which polarises at once unless ρ holds it back [DL, App. B.8].
        damping: α of all layers but the last.
        last_damping: α of the last layer; None for that of the others.
        beta: β of layers of ±1 weights but the last; 1 elsewhere: the precision of continuous weights grows with β
            and their fields run away.
        last_beta: β of a last layer of ±1 weights.
        first_damping, first_beta: α and β of the first of several layers; None for those of the others.
        mean_field_rho: ρ of the mean-field layers among those of ``rho``; None for that of the others.
        continuous_last_rho: ρ of a last layer of continuous weights; None for ``last_rho``.
        networks: what serves instead where the hidden layers have these widths.
        memory: the one it is for, see ``deepnet.config.Config``; None for any.
    """

    rho: Setting
    last_rho: Setting
    damping: Setting
    beta: Setting
    last_damping: Setting | None = None
    last_beta: Setting = 1.0
    first_damping: Setting | None = None
    first_beta: Setting | None = None
    mean_field_rho: Setting | None = None
    continuous_last_rho: Setting | None = None
    networks: Mapping[tuple[int, ...], "Preset"] = field(default_factory=dict)
    memory: str | None = None

    def settings(
        self, hidden: tuple[int, ...], weights: Sequence[str], closures: Sequence[str]
    ) -> dict[str, list[Setting]]:
        """Return one value per layer of "rho", "damping" and "beta".

        Args:
            hidden: widths of the hidden layers.
            weights: kinds of the weights, one per layer.
            closures: one per layer.
        """
        if hidden in self.networks:
            return self.networks[hidden].settings(hidden, weights, closures)
        mean_field = self.rho if self.mean_field_rho is None else self.mean_field_rho
        last = self.last_rho
        if weights[-1] != "binary" and self.continuous_last_rho is not None:
            last = self.continuous_last_rho
        damping = _by_layer(len(hidden), self.first_damping, self.damping, self.last_damping)
        beta = _by_layer(len(hidden), self.first_beta, self.beta, self.last_beta)
        return {
            "rho": [*(mean_field if closure == "mf" else self.rho for closure in closures[:-1]), last],
            "damping": damping,
            "beta": [value if kind == "binary" else 1.0 for value, kind in zip(beta, weights, strict=True)],
        }


def _by_layer(hidden: int, first: Setting | None, others: Setting, last: Setting | None) -> list[Setting]:
    """Return a value for each hidden layer and the last one; None is that of the others, and one layer is the last."""
    values = [others] * hidden + [others if last is None else last]
    if hidden and first is not None:
        values[0] = first
    return values


#: [DL, App. B.3, B.4]: most networks, and those that have their own values.
_PAPER = Preset(rho=1.0001, last_rho=0.9, damping=0.8, beta=1.0)
_PAPER_NETWORKS = {
    (101, 101, 101): replace(_PAPER, rho=1.0, mean_field_rho=1.001),
    (501, 501, 501): replace(_PAPER, damping=0.1, last_damping=0.9),
}

PRESETS = {
    # Chosen on validation data for runs of 3 to 100 epochs: β and α by the part of the run, however long it is; ρ of
    # the last layer by the epoch, since the longer a run, the sooner this layer must forget.
    "default": Preset(
        rho=1.0,
        last_rho="0.98:0.9:0.9",
        continuous_last_rho=0.9,
        damping="0.95:0.995:0.1/run",
        beta="8:1:0.1/run",
    ),
    "paper": replace(_PAPER, networks=_PAPER_NETWORKS),
    "paper-bayesian": replace(_PAPER, rho=0.9999),
    "paper-continual": replace(_PAPER, rho=1.0, last_rho=1.0),
    # Assumed density filtering: every batch counts once, whatever comes after it.
    "adf": Preset(rho=1.0, last_rho=1.0, damping=0.0, beta=1.0),
    # For memory "covariance": short steps, and an evidence that is worth as much more; less so where the inputs are
    # data. Found by trying on permuted MNIST, in the end on training samples that were held out.
    "stream": Preset(
        rho=1.0,
        last_rho=1.0,
        damping=0.9,
        beta=20.0,
        last_beta=20.0,
        first_damping=2 / 3,
        first_beta=6.0,
        memory="covariance",
    ),
}
