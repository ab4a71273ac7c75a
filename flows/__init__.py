"""The Prefect driver: it reads the graph from DVC, and runs it."""
