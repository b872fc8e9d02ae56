"""Benchmarks: training by message passing beside the gradient-trained network of the same shape."""
