"""What the Hub reads of a card, and the card's text: front matter, evaluation results, templates filled in."""

import functools
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from hf_dd.config import slug
from hf_dd.core.resources import resource
from hf_dd.core.text import Markdown, code, duration, markdown, number, verbatim
from hf_dd.errors import RunError


def configuration(name: str, path: str, digest: str) -> dict[str, Any]:
    """A configuration in a card's front matter: the train split in the parquet files `path`, of the sha256 `digest`.

    The digest is a part of it: `load_dataset` would give a folder's former rows from its cache where new ones take
    exactly as many bytes.
    """
    return {
        "config_name": name,
        "description": f"Rows with the sha256 {digest}.",
        "data_files": [{"split": "train", "path": path}],
    }


def eval_results(data: dict[str, Any], results: dict[str, Any]) -> str:
    """Results in the Hub's own format (`.eval_results/*.yaml`), one entry for each row; no entry without a Hub source.

    An entry's task is the protocol and the student, with the commit of a backbone: numbers under different ones aren't
    comparable.
    """
    protocol, entries = results["protocol"], []
    for row in results["rows"] if data["repo_id"] else []:
        backbone = (row.get("backbone") or "").removeprefix("sha256:")[:8]
        student = "-".join([slug(row["architecture"]), *([backbone] if backbone else [])])
        students = f"± {row['std']:.2f} over {row['n']} students" if row["n"] > 1 else "one student"
        entries.append(
            EvalResultEntry(
                dataset_id=data["repo_id"],
                task_id=f"{slug(protocol['name'])}-v{protocol['version']}-{student}",
                value=round(row["mean"], 4),
                dataset_revision=data["sha"],
                notes=f"{row['set']}, {row['copy']}: {students}, {storage_of(row)}",
            )
        )
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def storage_of(row: dict[str, Any]) -> str:
    """The bytes of a row, those of soft labels apart, and what labels its students learned from if not hard ones."""
    words = [f"{row['bytes']:,} bytes"]
    if row.get("soft_label_bytes"):
        words.append(f"soft labels {row['soft_label_bytes']:,} bytes")
    if row.get("temperature") is not None:
        by = " ".join(sha.removeprefix("sha256:")[:8] for sha in row["taught_by"])
        words.append(f"taught at temperature {row['temperature']:g}{f' by {by}' if by else ''}")
    return ", ".join(words)


def render(card: type, front: Any, template: str, **values: Any) -> str:
    """Fill a template of cards/ with front matter and values; `section(NAME)` in it is another one, filled alike.

    Every text is shown as `core.text.markdown` has it, every number as `number` has it; `code`, `verbatim`, `number`
    and `duration` are filters. Raises RunError for what can't be shown so, as in a record that isn't ours.
    """

    def section(name: str) -> Markdown:
        return Markdown(template_of(name).render(**values))

    try:
        values |= {"section": section, "card_data": Markdown(front.to_yaml())}
        return str(card(str(section(template)))).rstrip() + "\n"
    except (jinja2.TemplateError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise RunError(f"No card can be made of what hf_dd.json says: {error}.") from error


@functools.cache  # to compile it takes longer than all else that is done for a card
def template_of(name: str) -> jinja2.Template:
    """A template of cards/."""
    environment = jinja2.Environment(
        finalize=lambda value: markdown(value) if isinstance(value, str) or has_text(value) else number(value)
    )
    environment.filters |= {"code": code, "verbatim": verbatim, "number": number, "duration": duration}
    return environment.from_string(resource("cards", name).read_text())


def has_text(value: Any) -> bool:
    """Whether a value that isn't text holds some."""
    return isinstance(value, list | tuple | dict) and not all(isinstance(part, int | float) for part in value)
