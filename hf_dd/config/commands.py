"""Options of the commands that neither train nor evaluate."""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from hf_dd.config.base import Options, is_default, option, part
from hf_dd.config.data import DataConfig, TrustConfig, branch, place, private, pull_request, tag

word = functools.partial(option, group="data", role="source", positional=True)
POOL = "A collection's slug, a pool.json, or a distilled set with one (folder or owner/name@revision)."


@dataclass
class CommandOptions(Options):
    """The options of a command without recipes."""

    takes_recipes: ClassVar[bool] = False


@dataclass
class EnvOptions(CommandOptions):
    """Versions and hardware."""


@dataclass
class QuickstartOptions(CommandOptions):
    """The whole circle on drawn letters against an embedded Hub, offline."""

    output_dir: str = place("outputs", "Folder for everything that it makes.", path=True)


@dataclass
class PushOptions(CommandOptions):
    """Push a finished folder as one commit and tag it."""

    folder: str = word("", "A distilled set's folder, or a teacher's.", needed="Name the folder: hf-dd push FOLDER.")
    hub_dataset_id: str | None = place(None, "Hub id to push to; named after the run if not given.")
    hub_tag: str | None = tag()
    hub_revision: str | None = branch()
    hub_private_repo: bool = private()
    create_pr: bool = pull_request()
    new_version: str | None = place(
        None, "Hub id of a better set, to which the card of this one leads from now on; of a distilled set."
    )


@dataclass
class PoolCreateOptions(TrustConfig, CommandOptions):
    """Make a collection whose notes pin the teachers' commits."""

    title: str = word("", "Title of the collection.", needed="Name the pool: hf-dd pool create TITLE TEACHER….")
    teachers: list[str] = word([], "Teachers as owner/name@revision; or look for them by what they are:")
    teacher_tags: list[str] = option([], "Every Hub model with all of these tags.", group="data")
    teacher_revision: str = option("final", "Revision of the models found by --teacher_tags.", group="data")
    architectures: list[str] = option([], "Teachers of hf-dd of these; all if not given.", group="data")
    seeds: list[int] = option([], "Their initialisations; all if not given.", group="data")
    epochs: list[str] = option([], "Training epochs, or final; all epochs if not given.", group="data")
    domain: str | None = option(None, "Data set that they were trained on, e.g. digits or owner/name.", group="data")
    owner: str | None = option(None, "Whose repositories to look through; everybody's if not given.", group="data")
    namespace: str | None = place(None, "Owner of the collection; the token's user if not given.")
    description: str | None = place(None, "What the pool is, in at most 150 characters.")
    private: bool = place(False, "Make it a private collection.")
    output: str | None = place(None, "Write the pool to this file as well, as a pool.json.", path=True)

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        if self.teacher_revision != "final" and not self.teacher_tags:
            yield (
                f"--teacher_revision {self.teacher_revision} is of models that --teacher_tags find: give that, or "
                "leave it out and name a teacher's revision behind an @."
            )


@dataclass
class PoolVerifyOptions(TrustConfig, CommandOptions):
    """Check that every commit of a pool is still there and loads."""

    pool: str = word("", POOL, needed="Name the pool: hf-dd pool verify POOL.")


@dataclass
class PoolShowOptions(TrustConfig, CommandOptions, DataConfig):
    """Print a pool's teachers, their commits and options, and how diverse it is on a data set."""

    pool: str = word("", POOL, needed="Name the pool: hf-dd pool show POOL.")
    dataset: str | None = option(
        None, "Measure the pool's diversity on this one: a Hub id, a folder, or digits.", group="data", role="source"
    )

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        yield from super().contradictions()
        for each in dataclasses.fields(DataConfig) if self.dataset is None else ():
            if each.name != "dataset" and not is_default(each, getattr(self, each.name)):
                yield f"--{each.name} is of the data set that a pool's diversity is measured on: add --dataset."

    @property
    def data(self) -> DataConfig | None:
        """The data set, as the options say how it is read; None where none is named."""
        return None if self.dataset is None else DataConfig(**part(self, DataConfig))


@dataclass
class PoolDiffOptions(CommandOptions):
    """Print in what two pools differ: -, + and ~ (the same revision moved)."""

    pools: list[str] = word([], f"Two of these: {POOL}")

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        if len(self.pools) != 2:
            yield f"hf-dd pool diff takes two pools, not {len(self.pools)}."


@dataclass
class CacheListOptions(CommandOptions):
    """List what hf-dd keeps of earlier runs, below the cache folder of datasets."""

    patterns: list[str] = word(
        [],
        "List those whose name, kind, teacher or data set is one of these, where * stands for anything; all if not "
        "given.",
    )


@dataclass
class CacheRemoveOptions(CommandOptions):
    """Remove what hf-dd keeps of earlier runs: it is computed again when it is needed."""

    patterns: list[str] = word(
        [], "Remove those whose name, kind, teacher or data set is one of these, where * stands for anything."
    )
    all: bool = option(False, "Remove everything.", group="data")

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        if self.all == bool(self.patterns):
            yield "rm takes either what to remove, as `hf-dd cache ls` lists it, or --all."


@dataclass
class HubOptions(CommandOptions):
    """A Hub in a folder of this machine."""

    root: str = word(
        "",
        "Folder that holds the Hub.",
        path=True,
        needed="Name the folder that holds the Hub: `hf-dd hub serve ROOT`.",
    )
    port: int = place(0, "Port; 0 for a free one.", at_least=0, at_most=65535)
    user: str = place("local", "Name of the account.")


@dataclass
class HubServeOptions(HubOptions):
    """Serve an embedded Hub from a folder until interrupted."""

    port: int = place(8080, "Port; 0 for a free one.", at_least=0, at_most=65535)
    host: str = place("127.0.0.1", "Address to listen on.")
    allow_remote: bool = place(False, "Allow an address other machines reach.")
    token: str | None = place(None, "Token of the account; hf_local if not given, a random one with --allow_remote.")


@dataclass
class HubRunOptions(HubOptions):
    """Run a command against an embedded Hub in a folder."""

    command: list[str] = word(
        [],
        "The command, after --.",
        empty=True,
        needed="give a command after --, as in `hf-dd hub run ROOT -- hf-dd quickstart`",
    )
