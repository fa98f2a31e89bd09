"""What a distilled set is for, measured beside real images: one file for each use."""
