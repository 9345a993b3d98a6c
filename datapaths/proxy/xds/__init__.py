"""A small control plane: it speaks xDS (state of the world, aggregated) to one proxy."""
