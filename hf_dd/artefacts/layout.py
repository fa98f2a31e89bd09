"""What the files of a distilled set are called."""

PARQUET = "data/train-00000-of-00001.parquet"
DECODED = "decoded/train-00000-of-00001.parquet"
LABELS = "labels"  # the folder of labels of crops
