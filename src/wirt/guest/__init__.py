"""A running guest as seen from outside, the same for every engine: keeper, frames, log."""
