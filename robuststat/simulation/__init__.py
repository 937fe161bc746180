"""Designs with known truth, and the Monte Carlo runner that checks estimators against it."""
