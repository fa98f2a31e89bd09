"""Options of `hf-dd reproduce`, and the options of the run that a record's command repeats."""

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config.base import Options, defaults, option
from hf_dd.config.commands import CommandOptions, word
from hf_dd.config.data import TrustConfig, place
from hf_dd.config.distillation import DistillConfig, StudyConfig
from hf_dd.config.importing import ImportConfig
from hf_dd.config.parsing import parse_config
from hf_dd.config.teachers import PretrainConfig
from hf_dd.errors import ConfigError

KINDS = {"distill": DistillConfig, "import": ImportConfig, "pretrain": PretrainConfig, "study": StudyConfig}
LAUNCH = ["accelerate", "launch", "--multi_gpu", "--num_processes"]  # of a command of several processes


@dataclass
class ReproduceConfig(TrustConfig, CommandOptions):
    """Make a distilled set, a teacher or a study again from its record alone, and compare."""

    set: str = word(
        "",
        "A distilled set, a teacher or a study: a Hub id (owner/name, owner/name@revision) or a folder.",
        needed="Name what is to be reproduced: hf-dd reproduce FOLDER_OR_HUB_ID.",
    )
    cells: list[str] = option([], "Of a study only these cells; all if not given.", group="data")
    dataset: str | None = option(
        None,
        "Where its data set lies here, if not where the record says; its images have to be the same.",
        group="data",
        role="source",
    )
    check: bool = option(
        False, "Run nothing: see that every input is still there, loads, and is what the record says.", group="budget"
    )
    output_dir: str | None = place(
        None,
        "New folder for what is made again and for reproduction.json; named after the set if not given.",
        path=True,
    )
    verify_badge: bool = place(
        False, "Write what was found onto the card of the set or teacher: of your own repository, or of the folder."
    )

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if self.check and self.verify_badge:
            yield "--verify_badge tells what was made again, and --check makes nothing: leave one out."


def read_command(command: str, made_by: str) -> Options:
    """The options that a record's command gives.

    Nothing else of it is followed: no help, no recipe's file, nothing that is said for a single call (`--push_to_hub`
    and the like), and no trust. `made_by` is the version that wrote the record, for messages. Raises ConfigError for
    what is no command of this version.
    """
    try:
        words = shlex.split(command)
        if words[:4] == LAUNCH:  # N -m hf_dd COMMAND
            words = ["hf-dd", *words[7:]]
        known = words[:1] == ["hf-dd"] and KINDS.keys() & words[1:2]
        if not known or {"--config", "--help", "-h"}.intersection(words):
            raise ValueError("it isn't one of those that records hold")
        kind = KINDS[words[1]]
        config = parse_config(kind, words[2:], command=" ".join(words[:2]))
        return dataclasses.replace(config, **defaults(kind, "once", "trust"))
    except (ValueError, ConfigError) as error:
        raise ConfigError(
            f"The record's command can't be run by this version of hf-dd ({str(error).rstrip('.')}). It was written "
            f"by {made_by}: install that version. The command: {command:.200}"
        ) from error
