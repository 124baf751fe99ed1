#!/usr/bin/env bash
# What both images do: the package from SOURCE with its pinned libraries into a fresh environment at PREFIX, as make setup does.
#
#   containers/install.sh SOURCE PREFIX
set -euo pipefail

source=$1 prefix=$2
pins=$source/constraints.txt
python3 -m venv "$prefix"
pip() { "$prefix/bin/python" -m pip "$@" --no-cache-dir -c "$pins"; }
# torch first: deepspeed's source distribution looks for it when it is built.
pip install setuptools numpy
pip install "$(grep '^torch==' "$pins")"
pip install --no-build-isolation "${source}[st]"
"$prefix/bin/crem" --help >/dev/null
