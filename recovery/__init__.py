"""Recovery: replay, verify, explain, bundles, trials of rules, forgetting and offsets."""
