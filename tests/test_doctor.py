"""The doctor finds what is wrong and says what to do about it."""

import importlib.metadata
import os
import shutil
from types import SimpleNamespace

from lib import doctor


def test_every_check_is_well_where_the_tests_run():
    report = doctor.report().drop(index="processors")
    assert len(report) == len(doctor.CHECKS) - 1
    assert (report["remedy"] == "").all(), report.to_dict("index")


def test_a_missing_and_an_old_package_are_named(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "pandas":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "jupyterlab" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found, remedy = doctor.packages()
    assert "pandas none" in found and "jupyterlab 0.1" in found and "make lab" in remedy


def test_a_full_disk_gets_a_remedy(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e6))
    assert "TMPDIR" in doctor.disk()[1]


def test_one_processor_is_said(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert doctor.processors()[1]


def test_a_check_that_breaks_is_a_finding_and_the_others_still_run():
    def broken():
        raise ZeroDivisionError("oh")

    findings = doctor.report({"broken": broken, "Python": doctor.python})
    assert "ZeroDivisionError" in findings.loc["broken", "found"] and findings.loc["broken", "remedy"]
    assert findings.loc["Python", "remedy"] == ""
