"""The four closures: BP, BPI, mean field and AMP differ in what replaces the cavity quantities [DL App. A]."""

from deepnet.closures.amp import ApproximateMessagePassing
from deepnet.closures.bp import BeliefPropagation
from deepnet.closures.bpi import BPInspired
from deepnet.closures.common import Closure
from deepnet.closures.mean_field import MeanField

CLOSURES: dict[str, Closure] = {
    closure.name: closure for closure in (BeliefPropagation(), BPInspired(), MeanField(), ApproximateMessagePassing())
}

__all__ = ["CLOSURES", "Closure"]
