"""What the paper prints, what is inferred from it, and the tables made of both."""
