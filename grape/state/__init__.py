"""State that survives restarts: records changes in one SQLite file and restores them at the next start."""
