"""Topics, commands, events, the transition table and the pure fold.

This room knows no server, clock or chance, so live processing, replay, simulation and tests
call the same functions.
"""
