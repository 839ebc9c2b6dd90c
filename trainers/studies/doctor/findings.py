"""What is wrong with a run, the worst first."""

from itertools import chain

from trainers.studies.doctor.examine import Examination
from trainers.studies.doctor.finding import Finding
from trainers.studies.doctor.input_rules import input_findings
from trainers.studies.doctor.task_rules import task_findings
from trainers.studies.doctor.weight_rules import weight_findings


def findings(e: Examination) -> list[Finding]:
    """Returns what is wrong: first what still is, tasks before features before weights; then what has passed."""
    found = chain(task_findings(e), input_findings(e), weight_findings(e))
    return sorted(found, key=lambda each: not each.now)
