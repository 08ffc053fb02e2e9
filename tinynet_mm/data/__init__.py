"""Data: the built-in shapes, COCO-format sets of any layout and their check, and the SSD augmentation as one warp."""
