#!/bin/sh
# Makes .venv with winsockctl in it, and installs what is missing of the system's packages.
#
#   sh tools/setup.sh run     what the command needs
#   sh tools/setup.sh test    and what the tests need
#   sh tools/setup.sh dev     and what linting and the sanitized build need
#   sh tools/setup.sh bench   what the benchmarks need, the peers included
#   sh tools/setup.sh wheels  what building and testing wheels needs, without winsockctl
#
# PYTHON chooses the interpreter (python3), VENV the folder (.venv). Debian and Ubuntu.
set -eu

role=${1:-run}
python=${PYTHON:-python3}
venv=${VENV:-.venv}
cd "$(dirname "$0")/.."

missing=
need() { # PACKAGE COMMAND...: the package is needed unless the command succeeds
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
have() { command -v "$1"; }
have_header() {
    "$python" -c 'import os, sysconfig as s; os.stat(os.path.join(s.get_path("include"), "Python.h"))'
}
have_libpcap() { echo '#include <pcap/pcap.h>' | cc -fsyntax-only -x c -; }
have_fuzzer() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -fsanitize=fuzzer -o /dev/null -x c -
}
have_libc() { echo '#include <linux/if_packet.h>' | cc -fsyntax-only -x c -; }

need python3 have "$python"
need python3-venv "$python" -c 'import ensurepip, venv'
need python3-dev have_header
need gcc have cc
need libc6-dev have_libc
case $role in
test | dev | wheels)
    need iproute2 have ip
    need tcpdump have tcpdump
    need tshark have tshark
    ;;
esac
case $role in
dev)
    need make have make
    need clang have clang
    need libclang-rt-dev have_fuzzer
    ;;
bench)
    need iproute2 have ip
    need util-linux have taskset
    need libpcap-dev have_libpcap
    ;;
run | test | wheels) ;;
*)
    echo "usage: sh tools/setup.sh run | test | dev | bench | wheels" >&2
    exit 2
    ;;
esac

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null; then
        as_root=sudo
    else
        echo "tools/setup.sh: these packages are missing, and there is no sudo to install them:$missing" >&2
        exit 1
    fi
    $as_root apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

"$python" -c 'import sys; sys.exit("winsockctl needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install -q --upgrade "pip>=25.1"
rm -rf build # objects of another compiler or another set of switches
case $role in
run) "$venv/bin/pip" install -q . ;;
test) "$venv/bin/pip" install -q --group test . ;;
dev) "$venv/bin/pip" install -q --group dev . ;;
bench) "$venv/bin/pip" install -q --group bench . ;;
wheels) "$venv/bin/pip" install -q --group wheels ;;
esac
