"""The command line: runs in folders, checkpoints, figures."""
