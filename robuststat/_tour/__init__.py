"""Stations of the tour: each module has a function ``tour`` that returns its text."""
