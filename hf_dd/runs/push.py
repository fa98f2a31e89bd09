"""Push a finished folder (again)."""

from hf_dd.artefacts import distilled_folder
from hf_dd.config.commands import PushOptions


def push(options: PushOptions) -> str:
    """Push what a folder holds, see `distilled_folder.push`; says what it was pushed as."""
    done = distilled_folder.push(
        options.folder,
        options.hub_dataset_id,
        tag=options.hub_tag,
        branch=options.hub_revision,
        private=options.hub_private_repo,
        create_pr=options.create_pr,
        new_version=options.new_version,
    )
    return f"pushed: {getattr(done, 'pin', done)}"
