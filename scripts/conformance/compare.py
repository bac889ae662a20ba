"""Compares the results of Autobahn's test suite with and without Curfew. Prints each case with another result.

Usage: compare.py DIRECTORY-WITHOUT DIRECTORY-WITH
"""

import json
import sys
from collections import Counter
from pathlib import Path


def results(directory):
    report = json.loads((Path(directory) / "index.json").read_text())
    (cases,) = report.values()
    return {name: (case["behavior"], case["behaviorClose"]) for name, case in cases.items()}


without, relayed = (results(directory) for directory in sys.argv[1:3])
if without.keys() != relayed.keys() or not without:
    sys.exit("the two runs have different cases")
failed = [name for name, (behavior, _) in without.items() if behavior == "FAILED"]
if len(failed) > len(without) / 10:
    sys.exit(f"{len(failed)} of {len(without)} cases fail without Curfew, so a comparison says nothing")
different = {name for name, result in without.items() if relayed[name] != result}
print(f"{len(without)} cases; without Curfew: {dict(Counter(it[0] for it in without.values()))}")
for name in sorted(different, key=lambda it: [int(part) for part in it.split(".")]):
    print(f"{name}: {without[name]} without Curfew, {relayed[name]} with Curfew")
# NON-STRICT is a success too: whether a server answers before it fails a connection depends on how TCP divides the bytes.
passes = {"OK": "pass", "NON-STRICT": "pass"}
worse = [
    name
    for name in different
    if [passes.get(it, it) for it in without[name]] != [passes.get(it, it) for it in relayed[name]]
]
print(f"{len(different)} cases have another result with Curfew, {len(worse)} of them differ in success")
sys.exit(1 if worse else 0)
