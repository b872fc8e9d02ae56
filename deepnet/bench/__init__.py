"""Benchmarks: training by message passing beside the gradient-trained network of the same shape."""


class BenchError(Exception):
    """A contender cannot run here, or its process failed; the message says which, why and what to do."""
