"""What the Hub reads of a card, and the card's text: front matter, templates filled in."""

import functools
from typing import Any

import jinja2

from hf_dd import hub
from hf_dd.artefacts import papers
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


def render(card: type, front: Any, template: str, **values: Any) -> str:
    """Fill a template of cards/ with front matter and values; `section(NAME)` in it is another one, filled alike.

    Every text is shown as `core.text.markdown` has it, every number as `number` has it; `code`, `verbatim`, `number`,
    `duration`, `digits` and `short` of a commit, `paper` and `bibtex` are filters. Raises RunError for what can't be
    shown so, as in a record that isn't ours.
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
    environment.filters |= {"digits": hub.digits, "short": hub.short}
    environment.filters |= {"paper": papers.link, "bibtex": lambda words, name: papers.entry(name, words)}
    return environment.from_string(resource("cards", name).read_text(encoding="utf-8"))


def has_text(value: Any) -> bool:
    """Whether a value that isn't text holds some."""
    return isinstance(value, list | tuple | dict) and not all(isinstance(part, int | float) for part in value)
