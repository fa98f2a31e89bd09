"""The only room that talks to the Hub: references and pins, pull, publish, search, collections, and their errors."""

# ruff: noqa: F401  the names of this room

from hf_dd.hub.client import (
    Outrun,
    Refused,
    Taken,
    Unreached,
    api,
    clear_errors,
    endpoint,
    reason,
    status_of,
)
from hf_dd.hub.listings import (
    DESCRIPTION_LIMIT,
    NOTE_LIMIT,
    TITLE_LIMIT,
    Collection,
    CollectionItem,
    create_collection,
    find_datasets,
    find_models,
    read_collection,
)
from hf_dd.hub.permission import (
    NO_REF,
    account,
    full_repo_id,
    require_free,
    require_pushable,
    require_writable,
    taken,
    user,
)
from hf_dd.hub.places import (
    COMMIT,
    DIGEST,
    REFERENCE,
    Pin,
    Place,
    RepoType,
    dataset_license,
    find,
    front_matter,
    is_private,
    list_files,
    pull,
    refs,
    require_commit,
    require_intact,
    resolve,
    tags,
)
from hf_dd.hub.pushes import (
    ATTEMPTS,
    Publication,
    create_repo,
    create_tag,
    holds,
    next_tag,
    publish,
    publish_space,
    push_files,
)
