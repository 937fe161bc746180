"""Compiled loops. Each kernel has a NumPy twin that small problems use instead."""
