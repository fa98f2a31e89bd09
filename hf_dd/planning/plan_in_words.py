"""What a plan says: of what it will do, and of what it decided."""

from hf_dd.artefacts.provenance import command_line, pinned
from hf_dd.core.strategies import parse_strategy
from hf_dd.core.text import plural
from hf_dd.planning import budget
from hf_dd.planning.planner import Planner
from hf_dd.training import flips


def described(plan: Planner) -> str:
    """The plan in lines, with the minutes of each part; nothing is trained for it but what measures."""
    known = plan.known
    if known.published.iterations:
        plan.require_enough()
    own, lines = plan.own_teachers(), []
    students, seconds = plan.students(plan.config.factor or 1)
    rest = known.seconds - seconds
    if own:
        (architecture,), count = own.architectures, len(own.teacher_seeds)
        told = f"teachers: {count} of {architecture}, {plural(own.epochs, 'epoch')}"
        lines.append((told, plan.seconds_of_teachers(own)))
    if known.published.iterations:
        names = [option.name for option in plan.field.candidates({} if own or plan.field.given else None)]
        rivals = " and herding alone" if plan.field.may_only_choose() else ""
        if len(names) > 1 or rivals:
            what = f"among at most {plural(len(names), 'candidate')}{rivals}"
            lines.append((f"races on {len(known.held.test)} validation images, {what}", budget.RACING * known.seconds))
    rest -= sum(spent for _, spent in lines)
    if known.published.iterations:
        many = f"{plan.config.iterations:,} iterations" if plan.config.iterations else "as many iterations as fit"
        lines.append((f"distillation: {plan.config.objective}, {many}", rest))
    if students["eval_students"]:
        what = " ".join(students.get("eval_architectures", plan.config.eval_architectures))
        epochs = students["eval_epochs"][0]
        told = f"{plural(students['eval_students'], 'student')} ({what}) of {epochs} epochs on the set and"
        lines.append((f"evaluation: {told} {', '.join(plan.config.baselines) or 'nothing else'}", seconds))
    minutes = plural(f"{plan.config.minutes:g}", "minute")
    head = f"{minutes} on {known.data.name}, {known.size.training} training images:"
    return "\n".join([head, *(f"  {spent / 60:6.1f} min  {name}" for name, spent in lines)])


def decisions(plan: Planner) -> list[str]:
    """What was decided, in sentences for the card."""
    known = plan.known
    raced = [known.kept["won"]] if "won" in known.kept else []
    asked = plan.config.augment is None and known.published.augmenting
    asked = asked and "flip" in parse_strategy(known.published.strategy)
    return [*raced, *([str(flips.flip_test(known.data, known.accelerator.autocast))] if asked else [])]


def teaching(plan: Planner) -> list[str]:
    """The commands that train the run's own teachers, where the set was made with them and they aren't pushed."""
    known = plan.known
    own = plan.own_teachers() if known.kept.get("decided", {}).get("teachers") else None
    if own is None or plan.config.push_to_hub:
        return []
    # Of what is pinned, its folder is the run's.
    pins = {key: value for key, value in pinned(own, known.data).items() if key == "dataset"}
    return list(filter(None, [command_line("pretrain", own, known.accelerator.num_processes, pins)]))
