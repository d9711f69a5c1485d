"""Reads of runs, steps, key-values and figures, by the names of the replaced data layer."""
