"""What the files of teachers, students, distilled sets and their runs are called, each in its own folder."""

CARD = "README.md"
RECORD = "hf_dd.json"
SET_KINDS = DISTILLED_SET, IMPORTED_SET = "distilled-set", "imported-set"  # of records: those of a set
WEIGHTS = "model.safetensors"  # of a teacher or a student
WHITENING = "whitening.safetensors"  # of images that were whitened, beside what was made of them

PARQUET = "data/train-00000-of-00001.parquet"
DECODED = "decoded/train-00000-of-00001.parquet"  # the images that tiles make, one each
LABELS = "labels"  # the folder of labels of crops
PREVIEW = "preview.png"
LOCK = "pool.json"  # the teachers' commits
RESULTS = "results.json"  # of the last evaluation
PLOT = "results.png"  # of several architectures
EVAL_RESULTS = ".eval_results/hf-dd.yaml"  # of 0.1.0, which the Hub reads in repositories of models alone

# The record goes first where they are removed: a folder without one holds no set.
SET_FILES = (RECORD, CARD, PREVIEW, LOCK, RESULTS, PLOT, WHITENING)
SET_FOLDERS = tuple(path.partition("/")[0] for path in (PARQUET, DECODED, f"{LABELS}/"))

CHECKPOINTS, LOGS = "checkpoints", "logs"  # folders of a run's working state
