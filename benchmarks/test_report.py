"""Writes what the other files measured, and what is kept of earlier sessions."""

import os
import platform

import pytest

from benchmarks import report


def surroundings() -> dict[str, str]:
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return {
        "processor": f"{len(names)} x {names[0] if names else platform.machine()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load average": f"{os.getloadavg()[2]:.1f}",  # of the last 15 minutes
    }


@pytest.mark.smoke
def test_report(pytestconfig, measured, tmp_path):
    folder = pytestconfig.getoption("report") or tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    measured.surroundings = surroundings()
    results = pytestconfig.getoption("results")
    if results and results.exists():
        measured.add(report.Measured.load(results.read_text()))
    report.write(measured, folder)
    text = (folder / "performance.md").read_text()
    for load, rows in measured.results.items():
        assert load[1:] in text
        for name in rows:
            assert report.CONSUMERS[name].title in text
    for picture, shown in (
        ("performance-cpu.svg", any(load.startswith("veth") for load in measured.results)),
        ("performance-load.svg", measured.largest_load),
    ):
        if shown:
            assert "</svg>" in (folder / picture).read_text()
            assert f"]({picture})" in text
