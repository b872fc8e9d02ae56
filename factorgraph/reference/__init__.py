"""The ground truth: exact solutions of small models, and rules held against integration."""
