"""An automaton with pooling and head; presets; save, load and import."""
