"""What may be wrong with a model or its evidence, and the warnings of all packages."""


class ModelError(ValueError):
    """A model description that does not fit together."""


class ContradictionError(ValueError):
    """Evidence or constraints that no state satisfies; the message names a variable."""


class IndefiniteError(ValueError):
    """A Gaussian belief without a positive precision; the message names the variable."""


class CavityWarning(RuntimeWarning):
    """Every warning of these packages: results or speed may not be what is expected; the message says what to do."""
