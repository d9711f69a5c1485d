"""Parts of the agent that tallies."""
