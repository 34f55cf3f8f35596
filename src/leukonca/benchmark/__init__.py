"""Many trainings and tests as one restartable table: cross-center benchmark and ablations."""
