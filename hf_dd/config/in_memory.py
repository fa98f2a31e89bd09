"""What a program gives as an object where a command line gives a reference."""

import os
from typing import Any

from hf_dd.errors import ConfigError

IN_MEMORY = "memory:"  # before the name of what nothing but its own program can find again


class InMemory(str):
    """What a `datasets.Dataset` or `DatasetDict` is called, `memory:NAME`; the object goes along as `given`."""

    given: Any

    def __deepcopy__(self, memo: dict) -> "InMemory":
        """Itself: as an option's value it is written down, and not changed."""
        return self


def reference_of(dataset: Any) -> str:
    """A data set's reference as it is, a path as text, an object by its name; raises ConfigError for anything else."""
    if dataset is None or isinstance(dataset, (str, os.PathLike)):
        return dataset  # judged as every option is
    first = next(iter(dataset.values()), None) if isinstance(dataset, dict) else dataset
    if not (hasattr(first, "features") and hasattr(first, "num_rows")):  # one that streams has no number of them
        raise ConfigError(
            f"`dataset` is of the type {type(dataset).__name__}; it takes a reference, a datasets.Dataset or a "
            "DatasetDict (not one that streams)."
        )
    reference = InMemory(f"{IN_MEMORY}{first.info.dataset_name or 'dataset'}")
    reference.given = dataset
    return reference
