"""Opens the live page in a headless Chromium, with events of a large network that it makes, and measures its cost."""
