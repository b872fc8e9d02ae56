"""Many runs from one file: data sets x networks x algorithms x seeds, their tables and curves."""
