"""`tfstable doctor`: what is wrong with a run or its log, and which key mends it.

from trainers import Run
from trainers.studies.doctor import examine, findings

for finding in findings(examine(Run.of("runs/quickstart"))):
    print(finding.subject, finding.line, finding.remedy)
"""

from trainers.studies.doctor.examine import Examination, examine
from trainers.studies.doctor.finding import Finding
from trainers.studies.doctor.findings import findings

__all__ = ["Examination", "Finding", "examine", "findings"]
