"""The parts of the benchmark: what is built, who is measured, how, and how it is told."""
