"""Numbers: special functions, integrals, dense Gaussian laws, scalar formulas applied to arrays."""
