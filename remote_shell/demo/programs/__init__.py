"""Programs that a learner reads and runs alone: under 80 lines each, the standard library only. In `zh/` the same code speaks Chinese."""
