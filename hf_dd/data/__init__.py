"""From a reference to uint8 images with statistics, in memory or in a file, in batches."""
