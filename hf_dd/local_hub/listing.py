"""Listings: what the Hub tells about a repository, and which ones a search finds."""

import functools
import json
import re
from dataclasses import dataclass

import yaml

from hf_dd.local_hub.git import Entry, GitRepository
from hf_dd.local_hub.lfs import Pointer
from hf_dd.local_hub.repositories import Record, timestamp

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
_SORT_KEYS = {"lastModified", "createdAt", "downloads", "likes"}


def parse_card(content: str) -> dict:
    """The YAML block at the top of a README; {} without one. Raises `yaml.YAMLError` if it isn't a mapping."""
    block = re.match(r"\s*---[\r\n]+(.*?)[\r\n]+---(\r\n|\n|$)", content, re.DOTALL)
    data = (yaml.safe_load(block[1]) if block else None) or {}
    if not isinstance(data, dict):
        raise yaml.YAMLError("the metadata block must be a mapping")
    return json.loads(json.dumps(data, default=str))


@dataclass(frozen=True)
class Snapshot:
    """The facts that one commit fixes: paths of its files, metadata of its card, its config.json, its time."""

    paths: tuple[str, ...]
    card: dict
    config: dict
    committed_at: str

    @property
    def library(self) -> str | None:
        """The card's library, else transformers if config.json is one of its configurations."""
        return self.card.get("library_name") or ("transformers" if "model_type" in self.config else None)


@functools.lru_cache(maxsize=1024)
def snapshot(git: GitRepository, commit: bytes) -> Snapshot:
    """The facts of a commit; broken metadata counts as none."""
    try:
        card = parse_card((git.read(commit, "README.md") or b"").decode(errors="replace"))
    except yaml.YAMLError:
        card = {}
    try:
        config = json.loads(git.read(commit, "config.json") or b"{}")
    except ValueError:
        config = {}
    committed_at = timestamp(next(git.history(commit)).commit_time)
    return Snapshot(tuple(sorted(git.files(commit))), card, config if isinstance(config, dict) else {}, committed_at)


def derive_tags(kind: str, facts: Snapshot) -> list[str]:
    """The tags a repository can be found by, from its card and its files."""
    card = facts.card
    if kind == "model":
        has_safetensors = any(path.endswith(".safetensors") for path in facts.paths)
        tags = [*_list(facts.library), *(["safetensors"] if has_safetensors else [])]
        tags += [*_list(facts.config.get("model_type")), *_list(card.get("pipeline_tag")), *_list(card.get("tags"))]
        tags += [f"dataset:{name}" for name in _list(card.get("datasets"))]
        tags += [f"base_model:{name}" for name in _list(card.get("base_model"))]
        tags += _list(card.get("language"))
    else:
        tags = [f"{facet}:{value}" for facet in _DATASET_FACETS for value in _list(card.get(facet))]
        tags += _list(card.get("tags"))
    tags += [f"license:{name}" for name in _list(card.get("license"))]
    return list(dict.fromkeys([*tags, "region:us"]))


def _list(value):
    return [] if value is None else [str(each) for each in value] if isinstance(value, list) else [str(value)]


def file_facts(git: GitRepository, entry: Entry) -> tuple[int, dict | None]:
    """Size in bytes of a file's content and, if it is a large file, its LFS facts."""
    content = git.blob(entry.oid)
    pointer = Pointer.parse(content)
    if pointer is None:
        return len(content), None
    return pointer.size, {"oid": pointer.oid, "size": pointer.size, "pointerSize": len(content)}


def describe_entry(git: GitRepository, commit: bytes, entry: Entry, expand: bool) -> dict:
    """An entry of a folder listing; `expand` adds the last commit that changed it."""
    size, lfs = (0, None) if entry.is_folder else file_facts(git, entry)
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
    facts = snapshot(git, commit)
    siblings = [{"rfilename": path} for path in facts.paths]
    if blobs:
        siblings = [_sibling(git, git.find(commit, path)) for path in facts.paths]
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
        "tags": derive_tags(record.kind, facts),
        "cardData": facts.card,
        "siblings": siblings,
    }
    if record.kind == "model":
        info |= {"modelId": record.repo_id, "config": facts.config, "pipeline_tag": facts.card.get("pipeline_tag")}
        info |= {"library_name": facts.library} if facts.library else {}
        info |= {"model-index": facts.card["model-index"]} if "model-index" in facts.card else {}
    return info


def _sibling(git, entry):
    size, lfs = file_facts(git, entry)
    described = {"rfilename": entry.path, "size": size, "blobId": entry.oid.decode()}
    if lfs:
        described["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
    return described


def search(infos: list[dict], query: dict[str, list[str]]) -> list[dict]:
    """The descriptions that match every filter of a list query, sorted as it asks (newest first)."""

    def matches(info):
        wanted_gate = query.get("gated", [str(bool(info["gated"])).lower()])[0].lower()
        return (
            set(query.get("filter", [])) <= set(info["tags"])
            and info["author"] in query.get("author", [info["author"]])
            and all(text.lower() in info["id"].lower() for text in query.get("search", []))
            and info.get("pipeline_tag") in query.get("pipeline_tag", [info.get("pipeline_tag")])
            and bool(info["gated"]) == (wanted_gate == "true")
        )

    found = [info for info in infos if matches(info)]
    order = query.get("sort", [""])[0]
    return sorted(found, key=lambda info: info[order], reverse=True) if order in _SORT_KEYS else found


def trim(info: dict, kind: str, query: dict[str, list[str]], listed: bool) -> dict:
    """Only what the query asks for: `expand` names fields, lists are in short form unless `full`."""
    if "expand" in query:
        return {key: info[key] for key in ("_id", "id", *query["expand"]) if key in info}
    if not listed or query.get("full", ["false"])[0].lower() == "true":
        return info
    short = _MODEL_SHORT_FORM if kind == "model" else [key for key in info if key not in ("siblings", "cardData")]
    asked = [key for key in ("cardData", "config") if query.get(key, ["false"])[0].lower() == "true"]
    return {key: info[key] for key in (*short, *asked) if key in info}
