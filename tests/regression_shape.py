"""The shape of JUnit reports as the schema of Apache Ant's has it: order of elements, attributes, counts."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

SUITE = {"name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "time", "skipped"}
RESULTS = {"failure", "error", "skipped"}


def assert_junit(suites: Xml.Element) -> None:
    """Everything that readers of the format rely on."""
    assert suites.tag == "testsuites"
    for suite in suites:
        assert suite.tag == "testsuite"
        assert set(suite.keys()) == SUITE
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
        assert float(suite.get("time", "")) >= 0
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * tags.count("testcase"), "system-out", "system-err"]
        assert all(set(p.keys()) == {"name", "value"} and p.tag == "property" for p in suite[0])
        cases = suite.findall("testcase")
        for case in cases:
            _assert_case(case)
        assert int(suite.get("tests", "")) == len(cases) > 0
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(count, "")) == len(suite.findall(f"testcase/{tag}"))
        names = [(c.get("classname"), c.get("name")) for c in cases]
        assert len(set(names)) == len(names), "two test cases of one name are one to most readers"


def _assert_case(case: Xml.Element) -> None:
    assert set(case.keys()) == {"name", "classname", "time"}
    assert case.get("name")
    assert len(case) <= 1
    for result in case:
        assert result.tag in RESULTS
        assert result.get("message")
        assert (result.get("type") is not None) == (result.tag != "skipped")
