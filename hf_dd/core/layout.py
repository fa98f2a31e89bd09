"""What the files of teachers, students, distilled sets and their runs are called, each in its own folder."""

import re

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

EPOCHS = "epoch-*"  # of a run, as a pattern of files
EPOCH = re.compile(r"epoch-(0|[1-9]\d*)")


def epoch_name(epoch: int) -> str:
    """What an epoch of a teacher's run is called: the tag of a repository, or the folder in the run's."""
    return f"epoch-{epoch}"


def epoch_of(name: str) -> int | None:
    """The epoch that is called so; None for what no epoch is called."""
    match = EPOCH.fullmatch(name)
    return match and int(match[1])


def student_name(seed: int) -> str:
    """What the student of a seed is called among those of its row: the tag of a repository, or the folder."""
    return f"seed-{seed}"


def training_run(repo_id: str, local: bool) -> str:
    """What the epochs of a teacher's run have in common: their repository, or the folder that holds theirs."""
    run, _, name = repo_id.rpartition("/")
    return run if local and epoch_of(name) is not None else repo_id
