"""The account of time: what was recorded, missing or not wanted, over restarts, gaps and days."""
