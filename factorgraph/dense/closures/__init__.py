"""The four closures: BP, BPI, mean field and AMP differ in what replaces the cavity quantities [DL, App. A]."""

from factorgraph.dense.closures.amp import ApproximateMessagePassing
from factorgraph.dense.closures.bp import BeliefPropagation
from factorgraph.dense.closures.bpi import BPInspired
from factorgraph.dense.closures.common import Closure
from factorgraph.dense.closures.mean_field import MeanField

CLOSURES: dict[str, Closure] = {
    closure.name: closure for closure in (BeliefPropagation(), BPInspired(), MeanField(), ApproximateMessagePassing())
}

__all__ = ["CLOSURES", "Closure"]
