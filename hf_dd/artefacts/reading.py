"""What a set's record says, read once for its card and its page: what its images are, its labels, lines to use it.

Takes records as mappings, and needs neither torch nor a network.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from hf_dd.config import spelt
from hf_dd.core.layout import IMPORTED_SET
from hf_dd.core.registry import OBJECTIVES

Facts = Mapping[str, Any]
FOLDER = "PATH_OF_THIS_FOLDER"  # in lines for a set that is nowhere on the Hub
SYNTHETIC, CHOSEN = "synthetic", "chosen"


def origin(kind: str, settings: Facts) -> str | None:
    """Whether images are 'synthetic', optimised, or 'chosen' real ones; None where an import's method doesn't say it.

    Of an imported set that is so where its stated method is one that hf-dd knows.
    """
    if kind != IMPORTED_SET:
        return SYNTHETIC if settings["iterations"] > 0 else CHOSEN
    method = spelt(settings.get("method") or "")
    if method not in OBJECTIVES.declared:
        return None
    return CHOSEN if OBJECTIVES.said(method, "chooses") else SYNTHETIC


def stored_labels(record: Facts) -> list[str]:
    """The labels that are stored with the images, as keys of `verdict.REGIMES`: hard ones if no others."""
    return [key for key, name in (("soft", "soft_labels"), ("crops", "crop_labels")) if record.get(name)] or ["hard"]


def configuration(record: Facts) -> str | None:
    """The configuration that students train on: of compact rows the decoded ones."""
    return "decoded" if record.get("decoded") else None


def loading(repo_id: str | None, revision: str | None, configuration: str | None = None) -> str:
    """The call that loads a set's rows: of a repository at a revision, or of its folder."""
    words = [json.dumps(repo_id or FOLDER), *([json.dumps(configuration)] if configuration else [])]
    words += [f"revision={json.dumps(revision)}"] if repo_id and revision else []
    return f'load_dataset({", ".join(words)}, split="train").with_format("torch")'


def load_lines(repo_id: str | None, revision: str | None, configuration: str | None = None) -> list[str]:
    """The lines of Python that load a set's images and labels."""
    return [
        "from datasets import load_dataset",
        "",
        f"train = {loading(repo_id, revision, configuration)}",
        'images, labels = train[:]["pixel_values"], train[:]["label"]',
    ]


def reproducing(reference: str | None) -> str:
    """The command that makes again what a reference names, or the folder that it lies in."""
    return f"hf-dd reproduce {shlex.quote(reference or FOLDER)}"


def reference_of(repo_id: str | None, revision: str | None) -> str | None:
    """A repository at a revision as the Hub's grammar has it; None without a repository."""
    return f"{repo_id}@{revision}" if repo_id and revision else repo_id
