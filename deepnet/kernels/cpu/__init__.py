"""Compiled float32 loops for processors."""
