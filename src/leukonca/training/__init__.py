"""Recipe, training loop, checkpoints."""
