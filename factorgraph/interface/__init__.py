"""What users meet everywhere: checked arguments, and results that print in one screen."""
