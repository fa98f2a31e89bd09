"""The use cases of pools: make one, show it, compare two, verify one."""

import contextlib
import logging
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from hf_dd import hub
from hf_dd.config.arguments import typed
from hf_dd.config.commands import PoolCreateOptions, PoolDiffOptions, PoolShowOptions, PoolVerifyOptions
from hf_dd.core import files
from hf_dd.core.alone import alone
from hf_dd.data.image_data import load_data
from hf_dd.errors import ConfigError, TeacherError, some
from hf_dd.evaluation import tables
from hf_dd.teachers import diversity
from hf_dd.teachers import pins as locks
from hf_dd.teachers import query as queries
from hf_dd.teachers.locating import require_all_named
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.query import TeacherQuery

logger = logging.getLogger(__name__)

DESCRIPTION = "Teachers for dataset distillation, pinned by hf-dd."


def find(
    references: Sequence[str], tags: Sequence[str], revision: str, query: TeacherQuery
) -> Sequence[str | hub.Pin]:
    """The teachers of a pool to be made, named in one of three ways; raises ConfigError for two ways at once."""
    options = "--architectures, --seeds, --epochs, --domain, --owner"
    named = {"teachers": references, "--teacher_tags": tags, options: query}
    if len(given := [way for way, value in named.items() if value]) > 1:
        raise ConfigError(f"Name the teachers of a pool in one way; given are {' and '.join(given)}.")
    if tags:
        return queries.tagged(tags, revision)
    return query.find() if query else references


@typed()
def create_pool(
    title: str,
    teachers: str | os.PathLike[str] | hub.Pin | Sequence[str | os.PathLike[str] | hub.Pin],
    *,
    namespace: str | None = None,
    description: str | None = None,
    private: bool = False,
    output: str | os.PathLike[str] | None = None,
    trusted: Sequence[str] = (),
) -> hub.Collection:
    """Make a Hub collection of teachers whose notes pin their commits.

    Args:
        title: of the collection; the pool of this title and owner is brought to these teachers.
        teachers: as `owner/name@revision`, pinned to what that means now, or as pins: what `TeacherQuery.find` gives.
        namespace: owner of the collection; the token's user if None.
        description: at most 150 characters; where None, a new collection says what it is, another what it did.
        private: whether a new collection is private.
        output: a file to write the pool to as well, as `pool.json`.
        trusted: repositories that may be members though their weights are pickled.

    Raises ConfigError for arguments of other kinds, and an error before anything is written where a teacher isn't
    there, isn't one, is private in a public pool, or comes twice, where `output` can't be written, or where the title
    is that of a collection that is no pool.
    """
    teachers = [teachers] if isinstance(teachers, str | os.PathLike | hub.Pin) else teachers
    if not teachers:
        raise ConfigError(
            "A pool needs at least one teacher: as owner/name@revision, by --teacher_tags, or by --architectures, "
            "--seeds, --epochs, --domain."
        )
    if output and Path(output).is_dir():
        raise ConfigError(f"--output {output} is a folder; give the file to write, e.g. {output}/{locks.LOCK}.")
    pins = [pinned(teacher) for teacher in teachers]
    items = locks.notes_of(pins)
    specs = [locks.described(pin) for pin in pins]
    require_all_named(trusted, pins)
    for pin in pins:
        locks.require_weights(pin, trusted)
    if not private and (hidden := [item.repo_id for item in items if hub.is_private(item.repo_id, "model")]):
        raise ConfigError(
            f"{some(hidden)}: private, so that a public pool would be a smaller one for whoever else reads it. Make "
            "the pool private, too (--private), or its teachers public in their settings."
        )
    with beside(output) as written:
        made = hub.create_collection(
            title,
            items,
            namespace=namespace,
            description=description,
            default=DESCRIPTION,
            private=private,
            is_own=locks.is_pinned,
        )
        if written:
            files.write_json(written, locks.content(made.slug, specs))
    return made


def pinned(teacher: str | os.PathLike[str] | hub.Pin) -> hub.Pin:
    """The commit of a teacher of the Hub; raises HubError where there is none, ConfigError for one in a folder."""
    if isinstance(teacher, hub.Pin):
        folder = teacher.repo_id if teacher.local else None
    else:
        place = hub.find(teacher)
        folder = place.path if place and place.local else None
    if folder:
        raise ConfigError(
            f"Teacher {folder} is a folder of this machine, and a pool is a collection of the Hub. Push it first: "
            f"`hf-dd push {shlex.quote(folder)}` does so for a run of `hf-dd pretrain`."
        )
    return teacher if isinstance(teacher, hub.Pin) else hub.resolve(os.fspath(teacher))


@contextlib.contextmanager
def beside(output: str | os.PathLike[str] | None) -> Iterator[Path | None]:
    """A file that becomes `output` if all goes well, None without one; raises RunError if none can be written."""
    if not output:
        yield None
        return
    with files.unfinished(Path(output)) as temporary:
        temporary.touch()
        yield temporary


@alone()
def show(options: PoolShowOptions) -> str:
    """A pool as a table, and how diverse it is on the data set, if one is named."""
    place, trusted, lock = options.pool, options.trusted_teachers, locks.read(options.pool)
    lines = [lock.source, "", tables.teachers(list(map(vars, lock.specs())))]
    if options.data:
        require_all_named(trusted, lock.pins)
        pool, data = TeacherPool.from_lock(place, 1, trusted), load_data(options.data)
        if len(pool) < 2:
            raise TeacherError(f"{place} holds one teacher: diversity is that of several. Leave out --dataset.")
        lines += ["", f"Diversity on {data.name}. {diversity.in_words(diversity.measure(pool, data))}"]
    return "\n".join(lines)


def diff(options: PoolDiffOptions) -> str:
    """What the second pool lacks (-), has besides (+), and has at another commit (~), a line each."""
    gone, new, moved = locks.difference(*map(locks.read, options.pools))
    lines = [f"- {pin.repo_id}@{pin.revision} = {pin.sha}" for pin in gone]
    lines += [f"+ {pin.repo_id}@{pin.revision} = {pin.sha}" for pin in new]
    lines += [f"~ {old.repo_id}@{old.revision}: {old.sha} → {now.sha}" for old, now in moved]
    return "\n".join(lines) or "The pools hold the same commits."


def verify(options: PoolVerifyOptions) -> Iterator[str]:
    """Check every teacher of a pool, a line each; raises an error after the last one unless all are well.

    That is TeacherError where any fails, and hub.Unreached where the Hub couldn't be asked of any.
    """
    place, trusted = options.pool, options.trusted_teachers
    lock, count = locks.read(place), Counter()
    require_all_named(trusted, lock.pins)
    for pin, error in locks.verify(lock, trusted):
        word = "ok" if error is None else "UNKNOWN" if isinstance(error, hub.Unreached) else "FAILS"
        count[word] += 1
        yield f"{word} {pin.repo_id}@{pin.revision} = {pin.sha}{f': {error}' if error else ''}"
        if not error and (warning := locks.moved(pin)):
            logger.warning(warning)
    unknown = f"{count['UNKNOWN']} of {len(lock.pins)} teachers of {place} couldn't be asked for at {hub.endpoint()}."
    if count["FAILS"]:
        failed = f"{count['FAILS']} of {len(lock.pins)} teachers of {place} can't be used any more."
        raise TeacherError(f"{failed} {unknown}" if count["UNKNOWN"] else failed)
    if count["UNKNOWN"]:
        raise hub.Unreached(unknown)


def create(options: PoolCreateOptions) -> str:
    """Make the pool that the options name; says where it is and what it pins."""
    query = TeacherQuery(options.architectures, options.seeds, options.epochs, options.domain, options.owner)
    made = create_pool(
        options.title,
        find(options.teachers, options.teacher_tags, options.teacher_revision, query),
        namespace=options.namespace,
        private=options.private,
        output=options.output,
        description=options.description,
        trusted=options.trusted_teachers,
    )
    pinned = [f"  {pin.repo_id}@{pin.revision} = {pin.sha}" for pin in locks.pins_of(made)]
    return "\n".join([f"{made.title}: {made.slug}", made.url, *pinned])
