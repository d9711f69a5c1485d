"""Rebuilding everything beside the live schema, from the topics or from the journal, with proof.

The rules are those of the workers: `agents.apply.batch_fold` folds commands, and `streams.fold`
evolves states.
"""
