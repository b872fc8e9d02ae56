"""Inference with known weights: layers of generalized linear models, perceptrons, expectation maximisation."""
