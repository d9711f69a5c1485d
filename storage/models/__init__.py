"""Models of runs, steps, figures and messages, under the names of the replaced data layer."""
