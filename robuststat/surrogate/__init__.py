"""Regressions on surrogate labels with a few expert labels (design-based supervised learning)."""
