"""Messages in natural parameters: of spins, of real variables, of vectors."""
