"""Priors: one a file, each a free energy psi(H, G) with its mean and variance, of scalars or of vectors."""

from factorgraph.priors.base import Prior, PriorValues
from factorgraph.priors.binary import Binary
from factorgraph.priors.exponential import Exponential
from factorgraph.priors.gauss_bernoulli import GaussBernoulli
from factorgraph.priors.gaussian import Gaussian
from factorgraph.priors.gaussian_mixture import GaussianMixture
from factorgraph.priors.group_sparse import GroupSparse
from factorgraph.priors.laplace import Laplace
from factorgraph.priors.mixture import Mixture
from factorgraph.priors.positive import Positive
from factorgraph.priors.ternary import Ternary

__all__ = [
    "Binary",
    "Exponential",
    "GaussBernoulli",
    "Gaussian",
    "GaussianMixture",
    "GroupSparse",
    "Laplace",
    "Mixture",
    "Positive",
    "Prior",
    "PriorValues",
    "Ternary",
]
