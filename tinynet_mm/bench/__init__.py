"""Measurements of speed with one clock (turns, spread, protocol)."""
