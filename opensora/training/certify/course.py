"""What a certificate does with a run: how many steps, disturbed where, on how many workers."""

from dataclasses import dataclass

from opensora.core.errors import ConfigError

USUAL_STEPS, FEWEST_STEPS = 8, 4


@dataclass(frozen=True)
class Course:
    """Steps and workers of one certificate; steps are counted from the run's start.

    Attributes:
        first: optimizer steps done before; more than 0 where `load` is a checkpoint.
        micro_batches: entries of the plan used before.
        steps: that are trained.
        total: of the whole stage, which decides the schedule of the learning rate.
        accumulate: micro batches of a step on each group.
        groups: data-parallel groups of the run.
        other_groups: of the run that goes on with another number; None where none is possible.
        sp_size: workers of a group.
    """

    first: int
    micro_batches: int
    steps: int
    total: int
    accumulate: int
    groups: int
    other_groups: int | None
    sp_size: int = 1

    @property
    def until(self) -> int:
        """The last step."""
        return self.first + self.steps

    @property
    def ckpt_every(self) -> int:
        """Steps between checkpoints, so that a few lie behind a run that is killed."""
        return max(1, self.steps // 4)

    @property
    def stop_in(self) -> int:
        """Steps done before the one in which a signal comes: no checkpoint is due after it."""
        return max(1, self.steps // 3)

    @property
    def kill_after(self) -> int:
        """Steps done before the run is killed, past at least two checkpoints."""
        return self.steps - 1 - self.ckpt_every

    @property
    def workers(self) -> int:
        """Processes of the run."""
        return self.groups * self.sp_size

    @property
    def other_workers(self) -> int | None:
        """Processes of the run on another number of them."""
        return None if self.other_groups is None else self.other_groups * self.sp_size

    def blocks(self, changed: int | None) -> list[range]:
        """Entries of the plan that each step uses.

        Args:
            changed: step from which the other number of groups trains; None for never.
        """
        found, start = [], self.micro_batches
        for step in range(self.first, self.until):
            is_other = changed is not None and step >= changed
            groups = self.other_groups if is_other else self.groups
            assert groups is not None  # nothing changes where there is no other number
            found.append(range(start, start + groups * self.accumulate))
            start = found[-1].stop
        return found


def other_number(groups: int, sp_size: int, gpus: int) -> int | None:
    """Groups that a run of `groups` can go on with: two for one, else a divisor of its number.

    Args:
        groups: of the run.
        sp_size: workers of each.
        gpus: visible here; 0 on a CPU, where any number of processes can start.
    """
    if groups > 1:
        return next(groups // k for k in range(2, groups + 1) if groups % k == 0)
    return 2 if not gpus or gpus >= 2 * sp_size else None


def choose_course(
    steps: int,
    *,
    entries: int,
    done: tuple[int, int],
    num_steps: int | None,
    accumulate: int,
    groups: int,
    other_groups: int | None,
    sp_size: int,
) -> Course:
    """The course of a certificate, shorter where the stage or its plan is.

    The schedule is that of the stage, which ends earlier only where the plan is too short for the
    other number of workers.

    Args:
        steps: wanted.
        entries: micro batches of the plan.
        done: steps and micro batches done before.
        num_steps: of the stage, where its config says them.
        accumulate: micro batches of a step on each group.
        groups: of the run.
        other_groups: see `other_number`.
        sp_size: workers of a group.

    Raises:
        ConfigError: fewer than four steps are left.
    """
    first, used = done
    each = groups * accumulate
    most = min(first + (entries - used) // each, num_steps or entries)
    for wanted in range(min(steps, most - first), FEWEST_STEPS - 1, -1):
        course = Course(
            *(first, used, wanted, most, accumulate, groups, other_groups), sp_size=sp_size
        )
        if other_groups is None:
            return course
        changed = first + course.stop_in + 1
        left = entries - used - (changed - first) * each
        total = min(most, changed + left // (other_groups * accumulate))
        if total >= course.until:
            return Course(**{**vars(course), "total": total})
    raise ConfigError(
        f"--verify-resume: the stage has {most - first} steps left, and its plan {entries - used}"
        f" micro batches; expected at least {FEWEST_STEPS} steps on either number of processes;"
        " give a plan with more epochs"
    )
