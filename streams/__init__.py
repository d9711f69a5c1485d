"""What flows: topics, commands, events, the transition table and the pure fold.

Nothing here knows Kafka, Postgres, a clock or chance, so live processing, replay,
simulation and tests call the very same functions.
"""
