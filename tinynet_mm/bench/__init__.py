"""Measurements of speed, all taken by one clock (turns, spread, protocol)."""
