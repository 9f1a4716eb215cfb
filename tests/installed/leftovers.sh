#!/usr/bin/env bash
# leftovers.sh PACKAGES WORK: in a small Debian, piuparts installs the packages of the folder PACKAGES with what they depend on
# and nothing else, removes them, installs them again, purges them, and compares what is there with what was. WORK keeps that
# Debian between runs. Exits with piuparts' status; 77 where it cannot run.
set -euo pipefail
packages="$(cd "$1" && pwd)"
mkdir -p "$2"
suite="${DSLAD_SUITE:-bookworm}"
base="$(cd "$2" && pwd)/$suite-small.tar.gz"

skip() {
  echo "skipped: $*"
  exit 77
}

[ "$(id -u)" -eq 0 ] || skip "piuparts needs root"
command -v piuparts >/dev/null || skip "piuparts is not installed"
command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed"

# With systemd, on which the packages depend: folders that it makes stay when it goes.
[ -e "$base" ] || mmdebstrap --quiet --variant=minbase --include=systemd "$suite" "$base" || {
  rm -f "$base"
  skip "no Debian could be made"
}

mapfile -t files < <(find "$packages" -maxdepth 1 -name '*.deb' ! -name '*-dbgsym_*')
log="${base%.tar.gz}.log"
# The folder that is ignored is debconf's own, in Debian 13.
piuparts --distribution="$suite" --basetgz="$base" --keep-sources-list --no-eatmydata --no-upgrade-test --install-remove-install \
  --pedantic-purge-test --ignore-regex='^/var/cache/debconf/tmp[.]ci/?$' --log-file="$log" "${files[@]}" >/dev/null || {
  grep -vE 'DEBUG|DUMP' "$log" | tail -n 30 >&2
  exit 1
}
echo "a purge leaves nothing: ${#files[@]} packages"
