"""Networks of ±1 weights that leave the program: ``packed`` files of one bit a weight, and a C header.

Nothing is imported before it is asked for: reading and using a packed file needs NumPy only.
"""
