"""What large sizes give: ensembles, state evolution, free entropy, phase diagrams."""
