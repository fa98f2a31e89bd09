"""Pools of teachers: named by reference, by Hub tags, by a query, or by where their commits are locked."""

import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch

from hf_dd import hub
from hf_dd.config import TeacherConfig
from hf_dd.config.arguments import typed
from hf_dd.core.alone import alone
from hf_dd.core.progress import over
from hf_dd.core.seeding import derive_seed
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.teachers import epochs
from hf_dd.teachers import pins as locks
from hf_dd.teachers import query as queries
from hf_dd.teachers.locating import load_teacher, locate, require_all_named, without_revision
from hf_dd.teachers.query import TeacherQuery
from hf_dd.teachers.teacher import FittedHead, Teacher, TeacherSpec, described

logger = logging.getLogger(__name__)


class TeacherPool(Sequence[Teacher]):
    """Teachers, grouped by architecture; `draw` picks one as the paper does.

    Args:
        teachers: at least one.
        source: what the pool was made from, for the record: a collection's slug, Hub tags, a query, or nothing.

    Attributes:
        specs: what each teacher is, whether its weights are in memory or not.
        starts: an earlier epoch of each, once a run has asked for them (`begin_at`); else None.
    """

    @typed()
    def __init__(self, teachers: Sequence[Teacher], source: str | None = None):
        if not teachers:
            raise TeacherError("The pool holds no teacher.")
        self.specs = [teacher.spec for teacher in teachers]
        self.source = source
        self.starts: TeacherPool | None = None
        self._loaded = OrderedDict(enumerate(teachers))
        self._files: list[tuple[hub.Pin, Path]] = []
        self._heads: dict[int, FittedHead] = {}
        self._trusted: Sequence[str] = ()
        self._limit = len(teachers)
        self._place: tuple[torch.device | None, torch.dtype | None] = (None, None)

    @classmethod
    @typed()
    @alone()
    def from_files(
        cls,
        files: Sequence[tuple[hub.Pin, Path]],
        source: str | None = None,
        in_memory: int | None = None,
        trusted: Sequence[str] = (),
    ) -> "TeacherPool":
        """Load teachers from their files, each once, so that a bad one shows now; raises TeacherError.

        `in_memory` is how many stay, those used last; the others are loaded again when they are asked for. `trusted`
        names the repositories whose pickles may be read and whose code may run.
        """
        if in_memory is not None and in_memory < 1:
            raise ConfigError(f"in_memory is {in_memory}; it has to be at least 1.")
        limit = in_memory or len(files)
        loaded = (load_teacher(*place, trusted) for place in files[:limit])
        pool = cls(list(over(loaded, "loading teachers", limit, "teacher")), source)
        pool._files, pool._limit, pool._trusted = files, limit, trusted
        pool.specs += [pool._load(index).spec for index in range(limit, len(files))]
        return pool

    def __getitem__(self, index: int) -> Teacher:
        index = range(len(self))[index]
        if index not in self._loaded:
            return self._load(index)
        self._loaded.move_to_end(index)
        return self._loaded[index]

    def _load(self, index: int) -> Teacher:
        """Load a teacher in the place of the one that was not used for longest."""
        if len(self._loaded) >= self._limit:
            self._loaded.popitem(last=False)  # before the other is there
        teacher = load_teacher(*self._files[index], self._trusted).to(*self._place)
        self._loaded[index] = teacher.give_head(self._heads[index]) if index in self._heads else teacher
        return self._loaded[index]

    def give_head(self, index: int, head: FittedHead) -> None:
        """Let a fitted head give a teacher's logits, in place: now, and whenever it is loaded again."""
        self._heads[index] = head
        self.specs[index] = self[index].give_head(head).spec

    def __len__(self) -> int:
        return len(self.specs)

    def __repr__(self) -> str:
        lines = [f"  {spec}  {described(spec)}" for spec in self.specs]
        return "\n".join([f"TeacherPool of {len(self)}{f' from {self.source}' if self.source else ''}", *lines])

    def to(self, device: torch.device, dtype: torch.dtype) -> "TeacherPool":
        """Put all teachers there, in place: those in memory now, the others when they are loaded."""
        self._place = (device, dtype)
        for teacher in self._loaded.values():
            teacher.to(device, dtype)
        return self

    @classmethod
    @typed()
    def from_references(
        cls,
        references: str | os.PathLike[str] | hub.Pin | Sequence[str | os.PathLike[str] | hub.Pin],
        source: str | None = None,
        in_memory: int | None = None,
        trusted: Sequence[str] = (),
    ) -> "TeacherPool":
        """Load teachers by `owner/name@revision`, by local folders or by pins: what `hf_dd.pretrain` returns, too.

        Raises ConfigError for anything else, TeacherError or HubError for what can't be loaded.
        """
        references = [references] if isinstance(references, str | os.PathLike | hub.Pin) else references
        located = (locate(reference, trusted) for reference in references)
        files = list(over(located, "looking for teachers", len(references), "teacher"))
        return cls.from_files(files, source, in_memory, trusted)

    @classmethod
    @typed()
    def from_tags(
        cls,
        filters: Sequence[str],
        revision: str = "final",
        in_memory: int | None = None,
        trusted: Sequence[str] = (),
    ) -> "TeacherPool":
        """Load `revision` of every Hub model that carries all of these Hub tags, in the order of their ids."""
        return cls.from_references(queries.tagged(filters, revision), " ".join(filters), in_memory, trusted)

    @classmethod
    @typed()
    def from_query(
        cls, query: TeacherQuery, in_memory: int | None = None, trusted: Sequence[str] = ()
    ) -> "TeacherPool":
        """Load what a query over the paper's four options finds; raises TeacherError, naming what is missing."""
        return cls.from_references(query.find(), str(query), in_memory, trusted)

    @classmethod
    @typed()
    def from_collection(cls, slug: str, in_memory: int | None = None, trusted: Sequence[str] = ()) -> "TeacherPool":
        """Load the commits that a collection's notes pin; raises TeacherError where an item isn't a pinned model."""
        return cls._from_locked(locks.of_collection(slug), in_memory, trusted)

    @classmethod
    @typed()
    def from_lock(
        cls, place: str | os.PathLike[str], in_memory: int | None = None, trusted: Sequence[str] = ()
    ) -> "TeacherPool":
        """Load the locked commits of a collection, a `pool.json`, or a distilled set that holds one.

        A tag that moved since is a warning; the locked commit is loaded. Raises TeacherError or HubError.
        """
        return cls._from_locked(locks.read(os.fspath(place)), in_memory, trusted)

    @classmethod
    def _from_locked(cls, lock: locks.Lock, in_memory: int | None, trusted: Sequence[str]) -> "TeacherPool":
        pool = cls.from_references(lock.pins, lock.source, in_memory, trusted)
        for warning in filter(None, map(locks.moved, lock.pins)):
            logger.warning(warning)
        return pool

    @classmethod
    @typed()
    def from_config(cls, config: TeacherConfig) -> "TeacherPool | None":
        """The pool that the options name, or None where they name none.

        Raises TeacherError for a trusted name that is neither that of one of its teachers nor of the students'.
        """
        pool = cls._named_by(config)
        if pool:
            students = set(map(without_revision, getattr(config, "eval_teachers", [])))
            trusted = [name for name in config.trusted_teachers if without_revision(name) not in students]
            require_all_named(trusted, pool.specs)
        return pool

    @classmethod
    def _named_by(cls, config: TeacherConfig) -> "TeacherPool | None":
        how = {"in_memory": config.teachers_in_memory, "trusted": config.trusted_teachers}
        if config.teachers:
            return cls.from_references(config.teachers, **how)
        if config.teacher_tags:
            return cls.from_tags(config.teacher_tags, config.teacher_revision, **how)
        return cls.from_lock(config.teacher_pool, **how) if config.teacher_pool else None

    def begin_at(self, references: Sequence[str] = ()) -> "TeacherPool":
        """Pin and load an earlier epoch of each teacher: among `references`, or the earliest that its run has.

        Raises TeacherError, naming the teacher, where there is none.
        """
        found = [epochs.earlier(spec, references) for spec in self.specs]
        self.starts = TeacherPool.from_references(found, in_memory=min(self._limit, len(found)))
        for end, start in zip(self.specs, self.starts.specs, strict=True):
            epochs.require_earlier(end, start)
        return self.starts

    @property
    def start_specs(self) -> Sequence[TeacherSpec]:
        """Of `starts`; none where there are none."""
        return self.starts.specs if self.starts else ()

    def draw(self, seed: int, *step: str | int) -> int:
        """Index of the teacher of a step or a part of it: first an architecture, then one of its teachers, evenly."""
        architectures = sorted({spec.architecture for spec in self.specs})
        architecture = architectures[derive_seed(seed, "teacher-architecture", *step) % len(architectures)]
        members = [index for index, spec in enumerate(self.specs) if spec.architecture == architecture]
        return members[derive_seed(seed, "teacher", *step) % len(members)]

    def shares(self) -> dict[int, float]:
        """How often `draw` picks each teacher, by its index: the weights of a mean over the pool."""
        of_architecture = Counter(spec.architecture for spec in self.specs)
        return {
            index: 1 / len(of_architecture) / of_architecture[spec.architecture]
            for index, spec in enumerate(self.specs)
        }

    def lock(self) -> dict:
        """The resolved pool as JSON-able values: a collection has no revision of its own, this is its snapshot."""
        return locks.content(self.source, self.specs)
