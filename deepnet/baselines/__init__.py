"""What message passing is compared with, one algorithm a file: the same networks, trained otherwise.

A new one is a file with a class and its place in ``BASELINES``; it then has the command line, checkpoints, metrics,
figures, sweeps and the estimator of message passing.
"""

from deepnet.baselines.base import Baseline, BaselineError, Epoch
from deepnet.baselines.ebp import ExpectationBackpropagation
from deepnet.baselines.gradient import GradientDescent

#: The name of what needs no baseline, as settings give it.
MESSAGE_PASSING = "message-passing"

#: By the name that settings give them: BinaryNet as in [DL, App. B.6], with Adam as in its Fig. 2, and as one would
#: train it today; expectation backpropagation [DL, App. B.7].
BASELINES: dict[str, Baseline] = {
    "binarynet": GradientDescent("sgd", 10.0),
    "binarynet-adam": GradientDescent("adam", 1e-3),
    "binarynet-cosine": GradientDescent("adam", 1e-3, cosine=True, scaled=False),
    "ebp": ExpectationBackpropagation(),
}

__all__ = ["BASELINES", "MESSAGE_PASSING", "Baseline", "BaselineError", "Epoch"]
