#!/usr/bin/env bash
# boot.sh PACKAGES WORK: installs the packages of the folder PACKAGES in a Debian of its own, booted by systemd in a container,
# and runs guest.py there. WORK keeps the Debian between runs. Exits with the tests' status; 77 where no container can run.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
packages="$(cd "$1" && pwd)"
mkdir -p "$2"
work="$(cd "$2" && pwd)"
suite="${DSLAD_SUITE:-bookworm}"
patience_s=900

skip() {
  echo "skipped: $*"
  exit 77
}

[ "$(id -u)" -eq 0 ] || skip "a booted systemd needs root"
command -v systemd-nspawn >/dev/null || skip "systemd-container is not installed"
command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed"

# What the packages depend on, without versions and without each other.
needed() {
  for package in "$packages"/*.deb; do dpkg-deb --field "$package" Depends; done |
    tr ',' '\n' | sed -e 's/|.*//' -e 's/(.*//' -e 's/[[:space:]]//g' | grep -v '^dslad' | grep . | sort -u | paste -sd,
}

# The Debian, made anew when what the packages need is something else.
include="systemd,systemd-sysv,dbus,iproute2,procps,passwd,sqlite3,python3,gcc,libc6-dev,autopkgtest,dpkg-dev,$(needed)"
if [ "$(cat "$work/$suite.contents" 2>/dev/null)" != "$include" ]; then
  echo "making a Debian ($suite) for the tests"
  rm -f "$work/$suite.contents"
  mmdebstrap --quiet --variant=minbase --include="$include" "$suite" "$work/$suite.tar" || skip "no Debian could be made"
  echo "$include" >"$work/$suite.contents"
fi
root="$(mktemp -d "$work/root.XXXXXX")"
shared="$(mktemp -d "$work/shared.XXXXXX")"
container=
# Its systemd outlives nspawn's own end by SIGKILL: pid 1 of the container goes first.
trap '[ -z "$container" ] || { pkill -KILL -P "$container" || true; sleep 1; kill -KILL "$container" 2>/dev/null || true; }; rm -rf "$root" "$shared"' EXIT
tar -C "$root" -xpf "$work/$suite.tar"
cp "$here"/*.py "$here"/*.c "$here"/../golden/databases/version_5.sql "$packages"/*.deb "$shared"
mkdir "$shared/source" && cp -r "$here/../../packaging/debian" "$shared/source/debian"

cat >"$root/etc/systemd/system/tests.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo 1 >/shared/rc; python3 -B /shared/guest.py >/shared/output 2>&1; echo $? >/shared/rc'
ExecStopPost=/bin/systemctl --no-block exit 0
UNIT
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -s ../tests.service "$root/etc/systemd/system/graphical.target.wants/tests.service"
ln -sf /lib/systemd/system/graphical.target "$root/etc/systemd/system/default.target"

# --keep-unit and --register=no: there need not be a systemd out here.
touch "$shared/output"
tail -n +1 -F "$shared/output" 2>/dev/null &
follower=$!
systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --private-network --machine=dslad-test \
  --console=pipe --bind="$shared:/shared" --boot systemd.unit=graphical.target </dev/null >"$work/console.log" 2>&1 &
container=$!
timeout "$patience_s" tail --pid="$container" -f /dev/null || echo "not done within $patience_s s"
sleep 1
kill "$follower" 2>/dev/null || true
[ -s "$shared/rc" ] || {
  tail -n 20 "$work/console.log" >&2
  skip "systemd does not boot in a container here (see above)"
}
exit "$(cat "$shared/rc")"
