"""Judging budgets by committed costs, and stopping runs."""
