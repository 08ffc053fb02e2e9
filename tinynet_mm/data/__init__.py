"""Data sets: one image reader, adopting and checking data, the SSD augmentation as one warp, and built-in shapes."""
