"""What a model is: variables and factors in groups, checked on construction; no message lives here."""
