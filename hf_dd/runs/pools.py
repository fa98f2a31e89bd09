"""The use cases of pools: make one, show it, compare two, verify one."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from hf_dd import hub
from hf_dd.config import DataConfig
from hf_dd.config.commands import PoolCreateOptions
from hf_dd.core import files
from hf_dd.data.image_data import load_data
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.evaluation import report
from hf_dd.teachers import diversity
from hf_dd.teachers import pins as locks
from hf_dd.teachers import query as queries
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.query import TeacherQuery

logger = logging.getLogger(__name__)


def find(
    references: Sequence[str], tags: Sequence[str], revision: str, query: TeacherQuery
) -> Sequence[str | hub.Pin]:
    """The teachers of a pool to be made, named in one of three ways; raises ConfigError for two of them."""
    options = "--architectures, --seeds, --epochs, --domain, --owner"
    named = {"teachers": references, "--teacher_tags": tags, options: query}
    if len(given := [way for way, value in named.items() if value]) > 1:
        raise ConfigError(f"Name the teachers of a pool in one way; given are {' and '.join(given)}.")
    if tags:
        return queries.tagged(tags, revision)
    return query.find() if query else references


def create_pool(
    title: str,
    teachers: Sequence[str | hub.Pin],
    *,
    namespace: str | None = None,
    description: str = "Teachers for dataset distillation, pinned by hf-dd.",
    private: bool = False,
    output: str | Path | None = None,
) -> hub.Collection:
    """Make a Hub collection of teachers whose notes pin their commits.

    Args:
        title: of the collection; the one of this title and owner is brought to these teachers.
        teachers: as `owner/name@revision`, pinned to what that means now, or as pins: what `TeacherQuery.find` gives.
        namespace: owner of the collection; the token's user if None.
        description: at most 150 characters.
        private: whether a new collection is private.
        output: a file to write the pool to as well, as `pool.json`.

    Raises an error before anything is written where a teacher isn't there, isn't one, or comes twice, or where
    `output` can't be written.
    """
    if not teachers:
        raise ConfigError(
            "A pool needs at least one teacher: as owner/name@revision, by --teacher_tags, or by --architectures, "
            "--seeds, --epochs, --domain."
        )
    if output and Path(output).is_dir():
        raise ConfigError(f"--output {output} is a folder; give the file to write, e.g. {output}/{locks.LOCK}.")
    pins = [teacher if isinstance(teacher, hub.Pin) else hub.resolve(teacher) for teacher in teachers]
    items = locks.notes_of(pins)
    specs = [locks.described(pin) for pin in pins]
    with beside(output) as written:
        made = hub.create_collection(title, items, namespace=namespace, description=description, private=private)
        if written:
            files.write_json(written, locks.content(made.slug, specs))
    return made


@contextlib.contextmanager
def beside(output: str | Path | None) -> Iterator[Path | None]:
    """A file that becomes `output` if all goes well, None without one; raises RunError if none can be written."""
    if not output:
        yield None
        return
    with files.unfinished(Path(output)) as temporary:
        temporary.touch()
        yield temporary


def show(place: str, dataset: str | None = None, trusted: Sequence[str] = ()) -> str:
    """A pool as a table, and how diverse it is on a data set."""
    lock = locks.read(place)
    lines = [lock.source, "", report.teacher_table(lock.specs())]
    if dataset:
        pool, data = TeacherPool.from_lock(place, 1, trusted), load_data(DataConfig(dataset=dataset))
        if len(pool) < 2:
            raise TeacherError(f"{place} holds one teacher: diversity is that of several. Leave out --dataset.")
        lines += ["", f"Diversity on {data.name}. {diversity.in_words(diversity.measure(pool, data))}"]
    return "\n".join(lines)


def diff(first: str, second: str) -> str:
    """What the second pool lacks (-), has besides (+), and has at another commit (~), a line each."""
    gone, new, moved = locks.difference(locks.read(first), locks.read(second))
    lines = [f"- {pin.repo_id}@{pin.revision} = {pin.sha}" for pin in gone]
    lines += [f"+ {pin.repo_id}@{pin.revision} = {pin.sha}" for pin in new]
    lines += [f"~ {old.repo_id}@{old.revision}: {old.sha} → {now.sha}" for old, now in moved]
    return "\n".join(lines) or "The pools hold the same commits."


def verify(place: str, trusted: Sequence[str] = ()) -> Iterator[str]:
    """Check every teacher of a pool, a line each; raises an error after the last one unless all are well.

    That is TeacherError where any fails, and hub.Unreached where the Hub couldn't be asked of any.
    """
    lock, count = locks.read(place), Counter()
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
        **({"description": options.description} if options.description else {}),
    )
    pinned = [f"  {pin.repo_id}@{pin.revision} = {pin.sha}" for pin in locks.pins_of(made)]
    return "\n".join([f"{made.title}: {made.slug}", made.url, *pinned])
