"""What a row of results holds in a record, which may be of an older version, or of others."""

from typing import NotRequired, TypedDict


class RowFacts(TypedDict):
    """A row of results, see `evaluation.results.Row`; what some versions didn't write is `NotRequired`."""

    set: str
    architecture: str
    copy: str
    n: int
    mean: float
    std: float
    half_width: float | None
    scores: list[float]
    learning_rate: float
    bytes: int
    epochs: NotRequired[int]
    ipc: NotRequired[int | str]
    protocol: NotRequired[str]
    baseline: NotRequired[str | None]
    backbone: NotRequired[str | None]
    soft_label_bytes: NotRequired[int]
    temperature: NotRequired[float | None]
    taught_by: NotRequired[list[str]]
    losses: NotRequired[list[float]]
    regime: NotRequired[str | None]
