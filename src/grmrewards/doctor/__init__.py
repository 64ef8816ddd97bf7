"""Looking at a judge before it is trusted: what it can do, where its doubt lies, how fast it is, what it costs.

    from grmrewards import doctor

    print(doctor.diagnose(judge, [(prompt, responses), ...]).report())

`examine` is what `grmrewards doctor` runs: it also asks a server what it can do, measures the speed and the tokens of a
judgement, and names the options to use.
"""

from __future__ import annotations

from grmrewards.doctor.advice import Options, Where, advise, python, shell
from grmrewards.doctor.cases import CASES, cases_of, embedded_cases
from grmrewards.doctor.diagnosis import Diagnosis, diagnose
from grmrewards.doctor.examination import examine
from grmrewards.doctor.findings import Findings
from grmrewards.doctor.local import LocalModel
from grmrewards.doctor.speed import Bill, Price, Speed, Tokens, bill, speed_of

__all__ = [
    "CASES",
    "Bill",
    "Diagnosis",
    "Findings",
    "LocalModel",
    "Options",
    "Price",
    "Speed",
    "Tokens",
    "Where",
    "advise",
    "bill",
    "cases_of",
    "diagnose",
    "embedded_cases",
    "examine",
    "python",
    "shell",
    "speed_of",
]
