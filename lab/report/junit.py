"""A ruling as JUnit XML, as CI servers read it: one test case a metric and load.

Failed: slower or worse. Error: it could not be judged. Skipped: no threshold was given. The shape is that of the schema
of Apache Ant's reports (https://github.com/windyroad/JUnit-Schema), which Jenkins, GitLab and others read.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from lab.regression import Judgement, Ruling, Word
from lab.regression.ruling import FAILED
from lab.report import units
from lab.report.ruling import limit, lines, title

FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # XML 1.0 cannot hold it, escaped or not
NAMES = {Word.SLOWER: "failure", Word.WORSE: "failure", Word.SHOWN: "skipped"}


def junit(ruling: Ruling, timestamp: str, time_s: float) -> bytes:
    """The XML, in UTF-8. `timestamp` is ISO 8601 without a zone, `time_s` how long the gate took."""
    cases = ruling.judgements
    counts = {
        "tests": len(cases),
        "failures": sum(j.word in FAILED for j in cases),
        "errors": sum(j.word in (Word.REFUSED, Word.UNDECIDED) for j in cases),
        "skipped": sum(j.word is Word.SHOWN for j in cases),
    }
    suites = Xml.Element("testsuites")
    described = {
        "name": clean(f"mesh-lab gate: {title(ruling)}"),
        "package": clean(ruling.scenario),
        "id": "0",
        "timestamp": timestamp,
        "hostname": "localhost",
        "time": f"{time_s:.3f}",
        **{name: str(count) for name, count in counts.items()},
    }
    suite = Xml.SubElement(suites, "testsuite", described)
    properties = Xml.SubElement(suite, "properties")
    for name, value in _facts(ruling).items():
        Xml.SubElement(properties, "property", name=name, value=clean(value))
    for j in cases:
        _case(suite, ruling, j)
    Xml.SubElement(suite, "system-out").text = clean("\n".join(lines(ruling)))
    Xml.SubElement(suite, "system-err").text = ""
    Xml.indent(suites)
    found: bytes = Xml.tostring(suites, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def _facts(ruling: Ruling) -> dict[str, str]:
    return {
        "word": str(ruling.word),
        "runs": ", ".join(ruling.runs),
        "baseline": ruling.baseline or "",
        "confidence": f"{ruling.confidence:.6g}",
        "looks": str(ruling.looks),
        "command": ruling.command,
    }


def _case(suite: Xml.Element, ruling: Ruling, j: Judgement) -> None:
    name = " ".join(filter(None, (j.load, j.metric)))
    place = clean(f"{ruling.scenario}.{ruling.candidate}")
    case = Xml.SubElement(suite, "testcase", name=clean(name), classname=place, time="0")
    if j.word is Word.PASSED:
        return
    said = Xml.SubElement(case, NAMES.get(j.word, "error"), message=clean(f"{j.word}: {j.because}"))
    if j.word is not Word.SHOWN:
        said.set("type", str(j.word))
        said.text = clean(_numbers(j))


def _numbers(j: Judgement) -> str:
    found = [f"limit {limit(j)}", f"{j.deployments} deployments, {j.void} void"]
    if j.ratio:
        found.insert(0, f"ratio {units.ratio(j.ratio.value)} [{units.interval(j.ratio)}]")
    if j.wanted:
        found.append(f"about {j.wanted} deployments would decide")
    return "; ".join(found)
