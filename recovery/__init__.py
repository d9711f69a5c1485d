"""Recovery: replay, verify, explain, bundles, what-if trials, forgetting and offsets."""
