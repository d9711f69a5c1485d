"""Rebuilding everything beside the live schema, from the topics or from the journal, with proof.

The rules are those of the workers: `agents.folding` folds commands, `streams.fold` evolves states.
"""
