"""The experiments of `scripts/torture`, one a module; each has `run(settings)`, which yields its figures as they become known."""
