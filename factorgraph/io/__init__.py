"""Graphs in and out: files, and graphs of networkx."""
