"""The paper's printed figures, the multipliers inferred from them, and the tables of both."""
