"""What is known by name, registered where it is defined: objectives, networks, adapters, starts and protocols.

A definition says its own name and words, and everything else (options, help, errors, cards, docs) asks here:

    @OBJECTIVES.register("dm", title="distribution matching (DM)", paper="Zhao & Bilen, WACV 2023")
    class DistributionMatching(Objective): ...

The names and words of this package are read from its source, so that `--help` lists them without importing torch; a
definition is imported when it is asked for. Other packages add theirs by an entry point of the registry's group, and
`package.module:Name` stands for what isn't installed.
"""

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hf_dd.core.resources import PACKAGE
from hf_dd.core.text import Markdown, code, markdown
from hf_dd.errors import ConfigError, nearest_first

Definition = TypeVar("Definition")

CITATION = ("paper", "work", "authors", "arxiv", "doi")  # words of a definition that cite


class Registry(Mapping[str, Any]):
    """Definitions by name; iterates over the names, those of this package first.

    Args:
        variable: what the registry is called in the code; the source is searched for its `register` calls.
        noun: what an entry is, for messages.
        option: that names one, for messages that aren't told of another.
        folder: of the package, whose files hold the definitions; also the last word of the entry points' group.
        group: that word, where it is another.
        home: module of the package that says what a definition has to be (`requires`).
    """

    def __init__(
        self, variable: str, noun: str, option: str, folder: str, group: str | None = None, home: str | None = None
    ):
        self.variable, self.noun, self.option, self.folder, self.home = variable, noun, option, folder, home
        self.group = f"hf_dd.{group or folder}"
        self._definitions: dict[str, Any] = {}
        self._words: dict[str, dict[str, Any]] = {}
        self._modules: dict[str, str] = {}  # by name, the one that registers it: a protocol's own says nothing of that
        self._demand: Callable[[Any], str | None] = lambda definition: None

    def requires(self, demand: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        """Register the check of other packages' definitions: it returns what is wrong ("has to be …"), or None."""
        self._demand = demand
        return demand

    def register(self, name: str, *, title: str, **words: Any) -> Callable[[Definition], Definition]:
        """Make a definition known by `name`; `words` are literals, so that they can be read without running the code.

        Raises ConfigError where another definition has that name.
        """
        module = sys._getframe(1).f_globals["__name__"]

        def keep(definition: Definition) -> Definition:
            if self._definitions.get(name, definition) is not definition:
                raise ConfigError(f"The {self.noun} {name!r} is registered twice: choose another name.")
            self._definitions[name], self._modules[name] = definition, module
            self._words[name] = {"title": title, **words}
            return definition

        return keep

    @functools.cached_property
    def declared(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By name, the module of this package that registers it and the words that it gives, read from the source."""
        found = {}
        for path in sorted((PACKAGE / self.folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if f"{self.variable}.register(" not in text:
                continue
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.walk(ast.parse(text)):
                match node:
                    case ast.Call(func=ast.Attribute(attr="register", value=ast.Name(id=self.variable))):
                        words = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
                        found[ast.literal_eval(node.args[0])] = (module, words)
        return found

    @functools.cached_property
    def plugins(self) -> dict[str, importlib.metadata.EntryPoint]:
        """By name, what other installed packages register; raises ConfigError for a name of this package's."""
        found = {}
        for point in importlib.metadata.entry_points(group=self.group):
            if point.name in self.declared or point.name in found:
                other = "hf-dd" if point.name in self.declared else found[point.name].dist.name
                raise ConfigError(
                    f"{point.dist.name} registers the {self.noun} {point.name!r}, which {other} has already: "
                    "uninstall one of them, or call it otherwise."
                )
            found[point.name] = point
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self.declared | self.plugins | self._definitions

    def __len__(self) -> int:
        return len(self.declared | self.plugins | self._definitions)

    def __contains__(self, name: object) -> bool:
        return name in self.declared or name in self.plugins or name in self._definitions

    def __getitem__(self, name: str) -> Any:
        if name in self.declared:
            importlib.import_module(self.declared[name][0])
            return self._definitions[name]
        if name in self.plugins:
            return self.load(name, self.plugins[name].value)
        return self._definitions[name]

    def find(self, name: str, option: str | None = None) -> Any:
        """The definition of a name, or at `package.module:Name`, which is imported: for what the user wrote.

        Raises ConfigError where there is none, with the known names, the nearest first, or where it can't be imported;
        `option` is the one that the name was given by, where it isn't the registry's.
        """
        return self.load(name, name, option) if ":" in str(name) else self.installed(name, option)

    def installed(self, name: str, option: str | None = None) -> Any:
        """The definition of a name that is registered, or was found before: for what a stranger's file says.

        Nothing is imported but this package and what was installed to add to it. Raises ConfigError as `find` does.
        """
        if name in self:
            return self[name]
        option = option or self.option
        if ":" in str(name):
            raise ConfigError(
                f"{option} {name} isn't installed, and no module is imported because a file names it: install the "
                f"package that registers it (entry points {self.group}), or give {option} {name} yourself."
            )
        known = ", ".join(nearest_first(str(name), self))
        raise ConfigError(f"{option} {name} isn't known; known are: {known}.")

    def load(self, name: str, place: str, option: str | None = None) -> Any:
        """The definition at `package.module:Name`; a module may lie in the working directory."""
        option = option or self.option
        module, _, attribute = place.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            definition = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
            raise ConfigError(
                f"{option} {name}: {place} can't be loaded ({type(error).__name__}: {error})."
            ) from error
        if self.home:
            importlib.import_module(f"{PACKAGE.name}.{self.home}")
        if wrong := self._demand(definition):
            raise ConfigError(f"{option} {name}: {place} is no {self.noun}: it {wrong}.")
        self._modules.setdefault(name, module)
        return self._definitions.setdefault(name, definition)

    def words(self, name: str) -> dict[str, Any]:
        """What its author says of a definition: `title` and whatever else was registered; {} if nothing was.

        One that is of the `same_work` as another has that one's citation.
        """
        if name in self.declared:
            own = self.declared[name][1]
        else:
            definition = self.installed(name)
            own = next((self._words[key] for key in self._words if self._definitions[key] is definition), {})
        cited = self.words(own["same_work"]) if "same_work" in own else {}
        return {key: cited[key] for key in CITATION if key in cited} | own

    def said(self, name: str | None, word: str) -> Any:
        """One of these words, or None where its author doesn't say it, or the definition isn't known here."""
        try:
            return self.words(name).get(word)
        except ConfigError:
            return None

    def title(self, name: str) -> str:
        """A definition in a few words: its author's, or its name where there are none, or it isn't known here."""
        return self.said(name, "title") or name

    def origin(self, name: str) -> dict[str, str] | None:
        """Whose a definition is, for a record: `package` and `version`, else `module` and its file's `sha256`.

        None for one of this package. Raises ConfigError for a name that isn't known.
        """
        if name in self.declared:
            return None
        if name in self.plugins:
            return {"package": self.plugins[name].dist.name, "version": self.plugins[name].dist.version}
        self.installed(name)
        module = sys.modules[self._modules[name]]
        if not getattr(module, "__file__", None):  # typed into an interpreter
            return {"module": module.__name__}
        file = Path(module.__file__).resolve()
        for package in importlib.metadata.packages_distributions().get(module.__name__.partition(".")[0], []):
            distribution = importlib.metadata.distribution(package)
            if file.is_relative_to(Path(distribution.locate_file("")).resolve()):
                return {"package": package, "version": distribution.version}
        return {"module": module.__name__, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


OBJECTIVES = Registry("OBJECTIVES", "objective", "--objective", "objectives", home="objectives.base")
NETWORKS = Registry("NETWORKS", "architecture", "--architecture", "nn", "networks", home="nn.architectures")
ADAPTERS = Registry("ADAPTERS", "adapter", "--teachers", "teachers/adapters", "adapters", "teachers.adapters.base")
STARTS = Registry("STARTS", "start", "--init", "synthetic", "starts", "synthetic.start")
PROTOCOLS = Registry("PROTOCOLS", "protocol", "--eval_protocol", "evaluation", "protocols", "evaluation.protocols")


def origins(named: Iterable[tuple[Registry, str]]) -> dict[str, dict[str, str]]:
    """By noun and name, the origin of each definition that another package made; records keep it."""
    found = {f"{registry.noun} {name}": registry.origin(name) for registry, name in named if name in registry}
    return {name: origin for name, origin in found.items() if origin}


def origins_in_words(found: Mapping[str, Mapping[str, str]]) -> str:
    """What `origins` found as a card says it, in Markdown."""
    words = []
    for name, origin in found.items():
        noun, _, name = name.partition(" ")
        if "package" in origin:
            words.append(f"{noun} {code(name)} of {markdown(origin['package'])} {markdown(origin['version'])}")
        else:
            file = f" (sha256 {code(origin['sha256'][:12])})" if "sha256" in origin else ""
            words.append(f"{noun} {code(name)} of the module {markdown(origin['module'])}{file}")
    return Markdown("; ".join(words))
