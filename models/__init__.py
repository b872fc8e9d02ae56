"""Inference with known weights and the theory around it; see the README for what is in it so far."""
