#!/usr/bin/env bash
# build-elsewhere.sh FOLDER SUITE: builds the packages of FOLDER/dslad-source, which has a debian/, in a Debian of that suite:
# a root of its own, which FOLDER keeps between runs. The packages come to lie in FOLDER.
set -euo pipefail
folder="$(cd "$1" && pwd)"
suite="$2"

[ "$(id -u)" -eq 0 ] || {
  echo "build-elsewhere: a Debian of its own needs root" >&2
  exit 1
}
root="$folder/root"
[ -e "$root/usr/bin/dpkg-buildpackage" ] || {
  rm -rf "$root"
  mmdebstrap --quiet --variant=buildd --include=fakeroot,lintian "$suite" "$root"
}
rm -f "$folder/lintian.log" && touch "$folder/lintian.log"
cat >"$folder/build.sh" <<'SCRIPT'
set -e
cd /build/dslad-source
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get build-dep -q -y --no-install-recommends ./
dpkg-buildpackage --build=full --no-sign --jobs="$(nproc)"
lintian --pedantic --suppress-tags bad-distribution-in-changes-file,bogus-mail-host,bogus-mail-host-in-debian-changelog ../*.changes >../lintian.log
SCRIPT
systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --console=pipe --resolv-conf=replace-host \
  --bind="$folder:/build" /bin/bash /build/build.sh </dev/null >"$folder/build.log" 2>&1 || {
  tail -n 40 "$folder/build.log" >&2
  cat "$folder/lintian.log" >&2
  exit 1
}
cat "$folder/lintian.log"
