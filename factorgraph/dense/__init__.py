"""Dense layers: their messages, the four closures, and the operations of a sweep in plain NumPy."""
