"""Inference with known weights and the theory of such models. Nothing is here yet."""
