"""Listings: what the Hub tells about a repository, and which ones a search finds."""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import yaml

from hf_dd.local_hub.git import Entry, GitRepository
from hf_dd.local_hub.lfs import Pointer
from hf_dd.local_hub.repositories import Record, timestamp
from hf_dd.local_hub.untrusted import parse_card, parse_config

# Card fields of a data set that become tags "field:value".
_DATASET_FACETS = (
    "annotations_creators",
    "language",
    "language_creators",
    "multilinguality",
    "size_categories",
    "source_datasets",
    "task_categories",
    "task_ids",
)
_MODEL_SHORT_FORM = "_id id modelId createdAt private downloads likes tags pipeline_tag library_name".split()
_SORT_KEYS = {  # downloads and likes aren't counted, and so all the same
    "lastModified": lambda each: each.facts.committed_at,
    "createdAt": lambda each: each.record.created_at,
}


@dataclass(frozen=True)
class Snapshot:
    """The facts that one commit fixes: paths of its files, its tags, and its card and config.json as JSON texts.

    Texts, as hundreds of these are kept, and what they say may take many times the memory.
    """

    paths: tuple[str, ...]
    tags: tuple[str, ...]
    library: str | None
    pipeline_tag: str | None
    card: str
    config: str
    committed_at: str


@functools.lru_cache(maxsize=256)
def snapshot(git: GitRepository, commit: bytes, kind: str) -> Snapshot:
    """The facts of a commit; broken metadata counts as none."""
    try:
        card = parse_card((git.read(commit, "README.md") or b"").decode(errors="replace"))
    except yaml.YAMLError:
        card = {}
    try:
        config = parse_config(git.read(commit, "config.json") or b"{}")
    except ValueError:
        config = {}
    if "tags" in card:
        card["tags"] = _list(card["tags"])
    if not _has_sound_sources(card.get("model-index")):
        del card["model-index"]
    paths = tuple(sorted(git.files(commit)))
    library = _word(card.get("library_name")) or ("transformers" if "model_type" in config else None)
    tags = tuple(derive_tags(kind, card, config, library, paths))
    committed_at = timestamp(next(git.history(commit)).commit_time)
    texts = json.dumps(card), json.dumps(config)
    return Snapshot(paths, tags, library, _word(card.get("pipeline_tag")), *texts, committed_at)


def derive_tags(kind: str, card: dict, config: dict, library: str | None, paths: Iterable[str]) -> list[str]:
    """The tags a repository can be found by, from its card, its config.json and its files."""
    if kind == "model":
        has_safetensors = any(path.endswith(".safetensors") for path in paths)
        tags = [*_list(library), *(["safetensors"] if has_safetensors else [])]
        tags += [*_list(config.get("model_type")), *_list(card.get("pipeline_tag")), *_list(card.get("tags"))]
        tags += [f"dataset:{name}" for name in _list(card.get("datasets"))]
        tags += [f"base_model:{name}" for name in _list(card.get("base_model"))]
        tags += _list(card.get("language"))
    else:
        tags = [f"{facet}:{value}" for facet in _DATASET_FACETS for value in _list(card.get(facet))]
        tags += _list(card.get("tags"))
    tags += [f"license:{name}" for name in _list(card.get("license"))]
    return list(dict.fromkeys([*tags, "region:us"]))


def _has_sound_sources(index):
    """Whether huggingface_hub's class for cards can read a model-index: it chokes on sources without an address."""
    models = index if isinstance(index, list) else []
    results = [
        model["results"] for model in models if isinstance(model, dict) and isinstance(model.get("results"), list)
    ]
    sources = [each["source"] for result in results for each in result if isinstance(each, dict) and "source" in each]
    return all(isinstance(source, dict) and (source.get("url") or not source.get("name")) for source in sources)


def _word(value):
    """A text or number as a text; None for anything else, which a card may hold where a word is meant."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _list(value):
    words = map(_word, value if isinstance(value, list) else [value])
    return [word for word in words if word is not None]


def file_facts(git: GitRepository, oid: bytes) -> tuple[int, dict | None]:
    """Size in bytes of a file's content and, if it is a large file, its LFS facts."""
    size, start = git.glance(oid)
    pointer = Pointer.parse(start) if size == len(start) else None
    if pointer is None:
        return size, None
    return pointer.size, {"oid": pointer.oid, "size": pointer.size, "pointerSize": size}


def describe_entry(git: GitRepository, commit: bytes, entry: Entry, expand: bool) -> dict:
    """An entry of a folder listing; `expand` adds the last commit that changed it."""
    size, lfs = (0, None) if entry.is_folder else file_facts(git, entry.oid)
    kind = "directory" if entry.is_folder else "file"
    described = {"type": kind, "oid": entry.oid.decode(), "size": size, "path": entry.path}
    if lfs:
        described["lfs"] = lfs
    if expand:
        last = describe_commit(next(git.history(commit, entry.path)))
        described["lastCommit"] = {key: last[key] for key in ("id", "title", "date")}
    return described


def describe_commit(commit) -> dict:
    """An entry of the history."""
    title, _, message = commit.message.decode(errors="replace").partition("\n")
    author = commit.author.decode(errors="replace").split(" <")[0]
    described = {"id": commit.id.decode(), "title": title, "message": message.strip()}
    return described | {"date": timestamp(commit.commit_time), "authors": [{"user": author}]}


def describe_repository(record: Record, git: GitRepository, commit: bytes, blobs: bool = False) -> dict:
    """All that is told of a repository at a commit; `blobs` adds sizes and ids of its files."""
    facts = snapshot(git, commit, record.kind)
    card = json.loads(facts.card)
    siblings = [{"rfilename": path} for path in facts.paths]
    if blobs:
        siblings = [_sibling(git, path, oid) for path, oid in sorted(git.files(commit).items())]
    info = {
        "_id": record.uid,
        "id": record.repo_id,
        "author": record.namespace,
        "sha": commit.decode(),
        "lastModified": facts.committed_at,
        "createdAt": record.created_at,
        "private": record.private,
        "gated": record.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": list(facts.tags),
        "cardData": card,
        "siblings": siblings,
    }
    if record.kind == "model":
        info |= {"modelId": record.repo_id, "config": json.loads(facts.config), "pipeline_tag": facts.pipeline_tag}
        info |= {"library_name": facts.library} if facts.library else {}
        info |= {"model-index": card["model-index"]} if "model-index" in card else {}
    return info


def _sibling(git, path, oid):
    size, lfs = file_facts(git, oid)
    described = {"rfilename": path, "size": size, "blobId": oid.decode()}
    if lfs:
        described["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return described


class Found(NamedTuple):
    """A repository among those that a list query looks through, at the head of main."""

    record: Record
    git: GitRepository
    commit: bytes
    facts: Snapshot


def search(candidates: list[Found], query: dict[str, list[str]]) -> list[Found]:
    """Those that match every filter of a list query, sorted as it asks (newest first)."""

    def matches(each):
        record, facts, gated = each.record, each.facts, bool(each.record.gated)
        return (
            set(query.get("filter", [])) <= set(facts.tags)
            and record.namespace in query.get("author", [record.namespace])
            and all(text.lower() in record.repo_id.lower() for text in query.get("search", []))
            and (facts.pipeline_tag or "") in query.get("pipeline_tag", [facts.pipeline_tag or ""])
            and str(gated).lower() == query.get("gated", [str(gated)])[0].lower()
        )

    found = [each for each in candidates if matches(each)]
    order = _SORT_KEYS.get(query.get("sort", [""])[0])
    return sorted(found, key=order, reverse=True) if order else found


def is_short(query: dict[str, list[str]]) -> bool:
    """Whether a list query asks for nothing that may be large."""
    return not query.keys() & {"expand", "full", "cardData", "config"}


def trim(info: dict, kind: str, query: dict[str, list[str]], listed: bool) -> dict:
    """Only what the query asks for: `expand` names fields, lists are in short form unless `full`."""
    if "expand" in query:
        return {key: info[key] for key in ("_id", "id", *query["expand"]) if key in info}
    if not listed or query.get("full", ["false"])[0].lower() == "true":
        return info
    short = _MODEL_SHORT_FORM if kind == "model" else [key for key in info if key not in ("siblings", "cardData")]
    asked = [key for key in ("cardData", "config") if query.get(key, ["false"])[0].lower() == "true"]
    return {key: info[key] for key in (*short, *asked) if key in info}
