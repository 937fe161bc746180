"""Data sets shipped with robuststat; read them through ``robuststat.datasets``."""
