"""Message passing on any graph: unrolling, schedules, sweeps, beliefs, the Bethe free entropy, results."""
