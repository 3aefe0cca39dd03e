"""``polyexec doctor``: in words, what is wrong before money moves."""

from polyexec.doctor.examination import examine, examine_environment
from polyexec.doctor.findings import Diagnosis, Finding, Verdict

__all__ = ["Diagnosis", "Finding", "Verdict", "examine", "examine_environment"]
