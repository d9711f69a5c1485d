"""Getting back what was lost, and proving that it is back."""
