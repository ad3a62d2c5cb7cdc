"""The doctor finds what is wrong and says what to do about it."""

import importlib.metadata
import os
import shutil
import socket
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
    check = doctor.packages()
    assert "pandas none" in check.found
    assert "jupyterlab 0.1" in check.found
    assert "make lab" in check.remedy


def test_a_full_disk_gets_a_remedy(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e6))
    assert "TMPDIR" in doctor.disk().remedy


def test_one_processor_is_said(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert doctor.processors().remedy


def test_a_closed_loopback_gets_a_remedy(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "create_server", refuse)
    assert "firewall" in doctor.loopback().remedy


def test_a_check_that_breaks_is_a_finding_and_the_others_still_run():
    def broken():
        raise ZeroDivisionError("oh")

    findings = doctor.report((broken, doctor.loopback))
    assert "ZeroDivisionError" in findings.loc["broken", "found"] and findings.loc["broken", "remedy"]
    assert findings.loc["loopback", "remedy"] == ""
