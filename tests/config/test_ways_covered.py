"""Every message that advises an option or a command is provoked and followed, or stands here with why it isn't."""

import dataclasses
import re

from hf_dd.cli import COMMANDS, every_command
from hf_dd.core.registry import OBJECTIVES
from tests.config import test_advice_runs as runs
from tests.config import test_ways_out, test_ways_out_evaluation, test_ways_out_imports, test_ways_out_studies
from tests.config import test_ways_out_data as of_data
from tests.config import test_ways_out_hub as of_hub
from tests.config import test_ways_out_runs as of_runs
from tests.config import test_ways_out_teachers as of_teachers
from tests.config.stock import WORDS
from tests.config.test_advice import SAID
from tests.config.ways import Row
from tests.planning import test_planner as planned
from tests.runs import test_reproduce as reproduced

FILES = (test_ways_out, of_data, test_ways_out_imports, test_ways_out_evaluation, of_hub, of_runs, of_teachers)
FILES += (test_ways_out_studies,)
ROWS = [
    row
    for file in FILES
    for rows in vars(file).values()
    if isinstance(rows, list)
    for row in rows
    if isinstance(row, Row)
]
OTHERWISE = {  # the tests that follow them
    "… holds another run. Go on with it": runs.test_a_folder_that_holds_another_run,
    "The … training images have … sizes": runs.test_images_of_many_sizes,
    "Teacher …: …. A teacher's folder is": runs.test_a_teachers_folder_is_made_by_the_command_that_is_printed,
    **dict.fromkeys(
        ("--objective … needs expert", "--objective … matches the statistics"),
        runs.test_teachers_that_a_method_needs_are_made_by_the_command_that_is_printed,
    ),
    "Nothing that is kept matches": runs.test_what_is_kept_is_listed_by_the_command_that_is_printed,
    "… isn't a pool's lock": runs.test_a_lock_is_written_by_the_command_that_is_printed,
    "rm takes either what": of_hub.test_what_is_kept_is_removed_as_the_message_says,
    "If its images lie in": reproduced.test_a_data_set_that_lies_elsewhere_is_named_and_has_to_be_the_same,
    " Remove that folder: --resume": of_runs.test_a_checkpoint_that_is_broken_is_removed_as_the_message_says,
    "… is there already, where this": planned.test_teachers_of_a_planned_run_are_pushed_under_its_sets_name,
    "--eval_protocol … loads the teachers": of_teachers.test_teachers_in_memory_are_named_for_students,
}
NOT_RUN = {  # and why
    "Name the folder that holds the Hub": "it serves until it is interrupted, as tests/local_hub has it",
    "give a command after --": "a quickstart takes minutes, as tests/runs/test_quickstart.py has it",
    "…: there already, as an earlier quickstart leaves": "tests/runs/test_quickstart.py has it",
    "--minutes N plans for less": "said of runs that take long; what `--minutes` does is in tests/planning",
    "--trackio_options are Trackio's": "a tracker needs its own process, as tests/distillation/test_tracking.py has",
    "The students learn from hard labels": "DATM needs experts, as tests/objectives/test_datm.py has them",
    "%s has images of %d×%d pixels: --image_size": "said of photographs, which take minutes to learn",
    "--report_to …: … `pip install": "a package would be installed",
    "The decoded images take": "a full disk",
    "--zca: the whitening of": "a machine with too little memory",
    "facility-location compares": "a class of more than 20,000 images",
    "…: no pool was judged": "a search that is out of time at its first pool",
    "pools: …: no pool guides better": "which pool guides best isn't known before",
    "by how their losses fell": "an estimate by the losses of a long training, as in tests/evaluation/test_verdict.py",
    "scales test images to": "a note that stops nothing; tests/evaluation/test_protocols.py has what is told",
    "The protocol … asks teachers": "evaluations are refused before, with messages that are run",
}
NO_WAY = (  # names of options and commands without advice
    "hf-dd hub run: the command … ….",
    "hf-dd hub run: the command … can't be run",
    "--report_to … can't start",
    "--soft_labels crops stores labels",
    "it was trained on whitened images",
    "at --test_resize … it would have",
    "hf-dd reproduce: …",
    "hf-dd reproduce …",
    "hf-dd pool select: …",
    "`… … --help` lists the options.",
    "With --published, for a data set",
    "Options of its own, by",
    "teachers of --architecture that kept",
    "--experts: teachers' repositories",
    "operations of the augmentation, joined by '_' (`hf_dd.nn.random_views`), 'siamese' for those of `--augment`, or",
    "--train_split( or --test_split)?",
    # what a quickstart types itself
    "--num_processes 1 --num_machines 1",
    *("--fonts pillow", "--teacher_seeds 0 1", "--ipc 5 --iterations 140", "--clom ce --clom_alpha auto"),
    *(
        "--eval_copies float --eval_augment …",
        "accelerate launch --quiet",
        "--dataset …",
        "hf-dd pretrain … …",
        "hf-dd pool create",
    ),
    *("--hub_tag v1", "hf-dd distill … …", "hf-dd evaluate local/…"),
)


def helps():
    """The help of every option."""
    methods = [OBJECTIVES[name].Options for name in OBJECTIVES.declared]
    for options in [*(command.options for _, command in every_command()), *methods]:
        for each in dataclasses.fields(options):
            yield each.metadata.get("help")


HELP = {*helps()}
MESSAGES = {
    text: place
    for place, text in SAID
    if text not in HELP and (re.search("--[a-z]", text) or any(f"hf-dd {name}" in text for name in COMMANDS))
}


def met(fragment):
    """The message that a fragment is, else those that it is a part of."""
    return [text for text in MESSAGES if text == fragment] or [text for text in MESSAGES if fragment in text]


FRAGMENTS = [fragment for row in ROWS for fragment in row.fragments] + [*OTHERWISE, *NOT_RUN, *NO_WAY]


def test_every_message_is_provoked_and_followed():
    known = {text for fragment in FRAGMENTS for text in met(fragment)}
    missing = [f"{place}: {text}" for text, place in MESSAGES.items() if text not in known]
    assert not missing, "\n".join(missing)


def test_what_is_named_is_one_message():
    wrong = {fragment: met(fragment) for fragment in FRAGMENTS if len(met(fragment)) != 1}
    assert not wrong
    run = {text for row in ROWS for fragment in row.fragments for text in met(fragment)}
    assert not [fragment for fragment in [*OTHERWISE, *NOT_RUN, *NO_WAY] if run.issuperset(met(fragment))]


def test_every_option_that_a_message_names_is_part_of_what_is_typed():
    typed: dict[str, set[str]] = {}
    for row in ROWS:
        for text in (text for fragment in row.fragments for text in met(fragment)):
            command = re.sub(r"\{(\w+)\}", lambda found: WORDS.get(found[1], ""), row.command)
            typed.setdefault(text, set()).update(re.findall("--[a-z_]+", " ".join([command, *row.ways])))
    missing = {text: named for text, own in typed.items() if (named := {*re.findall("--[a-z_]+", text)} - own)}
    assert not missing
