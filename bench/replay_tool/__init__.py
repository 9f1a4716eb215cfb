"""What `bench/replay` is made of: it sends a trace of jobs to the real daemon and real workers, under one policy after
another, and measures. docs/adaptive.md says how to run it and what its columns mean."""
