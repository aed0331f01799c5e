"""Why SLURM ends the job that this process is in."""

import os
import re
import shutil
import subprocess

_WAIT_S = 10.0  # within the time that SLURM leaves between its two signals (KillWait, 30 s)
_FIELD = re.compile(r"\b(JobState|Reason)=(\S+)")
# states of a job, and reasons that stand beside a state such as COMPLETING
_CAUSES = {
    "TIMEOUT": "its time limit has passed",
    "TimeLimit": "its time limit has passed",
    "DEADLINE": "its deadline has passed",
    "NODE_FAIL": "a node went down",
    "NodeDown": "a node went down",
    "OUT_OF_MEMORY": "it took more memory than it asked for",
    "OutOfMemory": "it took more memory than it asked for",
    "PREEMPTED": "a job that goes first needs its nodes",
    "CANCELLED": "it was cancelled",
    "JobLaunchFailure": "a node could not start it",
}
_GOES_ON = ("RUNNING", "CONFIGURING", "SUSPENDED")


def why_job_ends() -> str:
    """What SLURM says of the end of this job; "" where it goes on, or nobody says."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job or shutil.which("scontrol") is None:
        return ""
    words = ["scontrol", "show", "job", "--oneliner", job]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = dict(_FIELD.findall(done.stdout))
    state, reason = found.get("JobState", ""), found.get("Reason", "")
    for word in (state, reason):
        if word in _CAUSES:
            return _CAUSES[word]
    if state == "COMPLETING":  # which hides the state before it
        return "it was cancelled, or others needed its nodes"
    return "" if not state or state in _GOES_ON else f"its state is {state}"
