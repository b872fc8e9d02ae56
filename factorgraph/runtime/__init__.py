"""How formulas run: compiled and cached, on threads, in C++, on arrays of a GPU."""
