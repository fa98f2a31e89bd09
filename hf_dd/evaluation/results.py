"""The results of an evaluation: a row for each set, copy and architecture, and the scores made of them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from hf_dd import hub
from hf_dd.evaluation import intervals, tables, verdict
from hf_dd.evaluation.protocols import Protocol


@dataclass(frozen=True)
class Row:
    """The result of one copy of one set with one architecture: accuracies in percent.

    Attributes:
        set, copy, architecture: what was trained on, and what was trained.
        n: students.
        mean, std: over the students; the sample standard deviation.
        half_width: of the mean's 95 % confidence interval; None for a single student.
        scores: of the students, in the order of their seeds.
        protocol: what they were trained by, in words, with what was changed or chosen.
        learning_rate, epochs: of the students.
        own_learning_rate: whether the rate is the one that comes with the set, learned with its images.
        ipc: stored images per class; in words where classes differ.
        bytes: of the set's images as this copy of them is stored.
        baseline: what kind of real images these are ('random', …), or None for a distilled set.
        backbone: commit of the pre-trained backbone, or `sha256:` and the digest of a local one's weights, under a
            linear head; None for networks that were trained from scratch.
        soft_label_bytes: of the soft labels that are stored with the set, used or not, or were made for it once.
        temperature: of the soft labels that the students learned from; None for hard labels.
        taught_by: commits (or digests) of the teachers whose labels they are, where that is known.
        losses: that the students were trained by, see `convergence.stretches`; the mean over them, or nothing.
        regime: what the protocol has students learn from: 'hard', 'soft', 'crops' or 'online' labels.
        draws: of random images, all students' together; `scores` are means over those of a student, `std` is over all.
        steps: of the optimiser, for one student.
        images_seen: by one student.
        teacher_calls: images that teachers labelled for one student.
        looks: how often the test split was looked at for `best_of_looks`; None where only after the last epoch.
        best_of_looks: the mean over students of their best accuracy at those looks.
    """

    set: str
    architecture: str
    copy: str
    n: int
    mean: float
    std: float
    half_width: float | None
    scores: tuple[float, ...]
    protocol: str
    learning_rate: float
    epochs: int
    seconds: float
    ipc: int | str
    bytes: int
    own_learning_rate: bool = False
    baseline: str | None = None
    backbone: str | None = None
    soft_label_bytes: int = 0
    temperature: float | None = None
    taught_by: tuple[str, ...] = ()
    losses: tuple[float, ...] = ()
    regime: str | None = None
    draws: int | None = None
    steps: int | None = None
    images_seen: int | None = None
    teacher_calls: int = 0
    looks: int | None = None
    best_of_looks: float | None = None

    @property
    def accuracy(self) -> str:
        """The mean and the standard deviation in words."""
        return intervals.spread(self.mean, self.std, self.n)

    @property
    def effort(self) -> str:
        """The steps in words, after a comma; nothing where an older version didn't count them."""
        return "" if self.steps is None else f", {self.steps:,} step{'s' * (self.steps != 1)}"

    @property
    def looking(self) -> str:
        """The best of the looks that a paper takes, in words; empty where nobody looked."""
        return tables.looks(vars(self))

    @property
    def storage(self) -> str:
        """The bytes in words."""
        return tables.storage(vars(self))

    @property
    def teaching(self) -> str:
        """The soft labels in words; empty for hard ones."""
        if self.temperature is None:
            return ""
        digests = ", ".join(map(hub.digits, self.taught_by))
        return f"soft labels at temperature {self.temperature:g}" + (f" by {digests}" if digests else "")

    def __str__(self) -> str:
        besides = "".join(f", {each}" for each in (self.teaching, self.looking) if each)
        return (
            f"{self.set} [{self.copy}] {self.architecture}: {self.accuracy} (n={self.n}), "
            f"{self.epochs} epochs at {tables.rate(vars(self))}{self.effort}, {self.storage} bytes{besides}"
        )


@dataclass(frozen=True)
class Score:
    """A score of one copy of one set with one architecture, and the rows that it was computed from.

    Attributes:
        name: of the `evaluate` module in hf_dd.metrics.
        value: of the score.
        parts: the differences of accuracies (fractions) that the module gives beside it.
        inputs: the row of each accuracy, by its name in `metrics.scores.ACCURACIES`.
    """

    name: str
    set: str
    architecture: str
    copy: str
    value: float
    parts: dict[str, float]
    inputs: dict[str, Row]

    def __str__(self) -> str:
        made_of = tables.made_of(asdict(self))
        return f"{self.set} [{self.copy}] {self.architecture}: {self.name} {self.value:.4f}, of {made_of}"


@dataclass(frozen=True)
class Results:
    """An evaluation: its protocol, its rows, where it ran, and the scores that were asked for.

    Attributes:
        teachers: that taught the students online: their `TeacherSpec`s as mappings, each with the `bytes` of its
            weights in float32, which are no part of any set.
        plugins: the origin of a protocol or architecture that isn't hf_dd's own, see `core.registry.origins`.
        majority: percent of the test split in its commonest class.
        chance: percent that are right where each class is guessed as often.
        test_images: of the test split.
        students: where the students of each row of a distilled set are published: `repo_id`, `set`, `copy`,
            `architecture` and `tags`; none where they aren't.
        protocols: of several regimes, the protocol of each as a mapping; else nothing.
        tested: by the set's name, how its test images were read where its record says otherwise, in options.
        data: what the data set is called that students were tested on.
        seed: of the first student, student i's is seed + i; random images are drawn by it, too.
        options: of the evaluation, those that say how students are trained and tested, by name.
    """

    protocol: Protocol
    rows: tuple[Row, ...]
    hardware: str
    scores: tuple[Score, ...] = ()
    teachers: tuple[dict[str, Any], ...] = ()
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)
    majority: float | None = None
    chance: float | None = None
    test_images: int | None = None
    students: tuple[dict[str, Any], ...] = ()
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)
    tested: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    data: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict:
        """JSON-able values: `protocol`, `rows`, `hardware`, `scores`, `teachers`, and the others that there are."""
        return {
            "protocol": self.protocol.as_dict(),
            "rows": [asdict(row) for row in self.rows],
            "hardware": self.hardware,
            "scores": [asdict(score) for score in self.scores],
            "teachers": list(self.teachers),
            **({"plugins": self.plugins} if self.plugins else {}),
            **({"students": list(self.students)} if self.students else {}),
            **({"protocols": self.protocols} if self.protocols else {}),
            **({"tested": self.tested} if self.tested else {}),
            **({"seed": self.seed} if self.seed else {}),
            **({"data": self.data} if self.data else {}),
            **({"options": self.options} if self.options else {}),
            **({} if self.majority is None else {"majority": self.majority, "chance": self.chance}),
            **({} if self.test_images is None else {"test_images": self.test_images}),
        }

    @property
    def architectures(self) -> list[str]:
        """What was trained, each once, in the order of the rows."""
        return list(dict.fromkeys(row.architecture for row in self.rows))

    @property
    def place(self) -> str:
        """Whose test images the students were tested on, and where, in words."""
        return f"{f'tested on {self.data}, ' if self.data else ''}on {self.hardware}"

    def difference(self, first: int, second: int) -> intervals.Interval:
        """Of the means of two rows, paired by the student's seed; raises ValueError where the students differ."""
        return intervals.of_difference(self.rows[first].scores, self.rows[second].scores)

    def __repr__(self) -> str:
        facts = self.as_dict()
        protocols = dict.fromkeys(row.protocol for row in self.rows) if self.protocols else [self.protocol]
        head = f"Results under {'; '.join(map(str, protocols))}, {self.place}"
        rows = [f"{row}{verdict.mark(each, facts)}" for row, each in zip(self.rows, facts["rows"], strict=True)]
        if self.protocols:
            labels = [verdict.regime_in_words(row.regime) for row in self.rows]
            rows = [", ".join(pair) for pair in zip(rows, labels, strict=True)]
        return "\n".join([*verdict.sentences(facts), head, *(f"  {line}" for line in (*rows, *self.scores))])
